//! kill -9 loses no session and revives none that has ended.

use serde_json::Value;

use crate::harness::binary::Served;
use crate::harness::flow::REDIRECT_URI;
use crate::harness::http::{Answer, Browser};
use crate::harness::on_both_stores;

on_both_stores!(
    a_kill_loses_no_session_and_revives_none,
    a_code_stays_used_through_a_kill,
    a_server_told_to_stop_ends_well,
);

async fn refresh(browser: &Browser, token: &Value) -> Answer {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "web"),
        ("refresh_token", token.as_str().unwrap()),
    ];
    browser.post("/oauth2/token", &form).await
}

async fn is_active(served: &Served, token: &Value) -> bool {
    let secret = served.deployment.client_secret("backend");
    let form = [("token", token.as_str().unwrap())];
    let browser = served.rolemint.browser();
    let answer = browser.post_as(("backend", &secret), "/oauth2/introspect", &form).await;
    answer.expect(200).json()["active"].as_bool().unwrap()
}

async fn a_kill_loses_no_session_and_revives_none(mut served: Served) {
    let kept = served.sign_in().await["tokens"].clone();
    let ended = served.sign_in().await["tokens"].clone();
    let form = [("client_id", "web"), ("token", ended["refresh_token"].as_str().unwrap())];
    served.rolemint.browser().post("/oauth2/revoke", &form).await.expect(200);
    // Acknowledged: from here on it counts, whatever happens.
    served.rolemint.kill_and_start();

    let browser = served.rolemint.browser();
    assert!(is_active(&served, &kept["access_token"]).await);
    assert!(!is_active(&served, &ended["access_token"]).await);
    refresh(&browser, &ended["refresh_token"]).await.expect_error(400, "invalid_grant");
    let refreshed = refresh(&browser, &kept["refresh_token"]).await.expect(200).json();
    assert!(is_active(&served, &refreshed["access_token"]).await);

    served.rolemint.kill_and_start();
    let browser = served.rolemint.browser();
    assert!(is_active(&served, &refreshed["access_token"]).await);
    assert!(!is_active(&served, &ended["access_token"]).await);
    refresh(&browser, &refreshed["refresh_token"]).await.expect(200);
    refresh(&browser, &ended["refresh_token"]).await.expect_error(400, "invalid_grant");
}

async fn a_code_stays_used_through_a_kill(mut served: Served) {
    let answer = served.sign_in().await;
    served.rolemint.kill_and_start();
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "web"),
        ("redirect_uri", REDIRECT_URI),
        ("code", answer["authorization_code"].as_str().unwrap()),
        ("code_verifier", answer["code_verifier"].as_str().unwrap()),
    ];
    let browser = served.rolemint.browser();
    browser.post("/oauth2/token", &form).await.expect_error(400, "invalid_grant");
    // A second use ends what the first made.
    assert!(!is_active(&served, &answer["tokens"]["access_token"]).await);
}

async fn a_server_told_to_stop_ends_well(mut served: Served) {
    let tokens = served.sign_in().await["tokens"].clone();
    let status = served.rolemint.terminate();
    assert!(status.success(), "{status}");
    served.rolemint.start();
    assert!(is_active(&served, &tokens["access_token"]).await);
}
