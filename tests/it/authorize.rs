//! The authorization endpoint: what is refused, to whom it is told, and the way to the right provider.

use reqwest::Method;
use url::form_urlencoded;

use crate::harness::flow::{PORTAL_URI, REDIRECT_URI, Request, error_in};
use crate::harness::http::{Answer, parameter};
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores};

on_embedded_stores!(
    a_redirect_uri_that_is_off_by_anything_gets_a_page,
    a_loopback_redirect_uri_may_have_any_port_and_nothing_else,
    a_client_that_is_not_known_gets_a_page,
    a_request_without_a_sound_challenge_is_refused,
    a_request_that_asks_for_what_there_is_not_is_refused,
    a_repeated_parameter_is_refused,
    nobody_else_hears_of_a_sign_in,
    a_tenant_or_an_address_leads_to_the_provider,
    an_address_is_asked_for_in_one_browser_only,
    no_parameter_makes_it_an_open_redirect,
    every_page_is_locked_down,
);
on_both_stores!(state_comes_back_as_it_was_sent, the_page_does_not_tell_who_is_a_customer);

/// The answer to a request whose redirect URI is this.
async fn asked(world: &World, client: &str, redirect_uri: &str) -> Answer {
    let request = Request::of(client, REDIRECT_URI).with("redirect_uri", redirect_uri);
    world.browser().authorize(&request).await
}

/// Sent on to the provider.
#[track_caller]
fn assert_sent_on(world: &World, answer: &Answer) {
    let location = answer.location().unwrap_or_else(|| panic!("{}", answer.body));
    assert!(location.as_str().starts_with(&world.provider.issuer), "{location}");
}

async fn a_redirect_uri_that_is_off_by_anything_gets_a_page(world: World) {
    assert_sent_on(&world, &asked(&world, "portal", PORTAL_URI).await);
    let off = [
        "",
        "https://portal.example/callbac",
        "https://portal.example/callbackk",
        "https://portal.example/callback/",
        "https://portal.example//callback",
        "https://portal.example/Callback",
        "https://PORTAL.example/callback",
        "HTTPS://portal.example/callback",
        "http://portal.example/callback",
        "https://portal.example:443/callback",
        "https://portal.example./callback",
        "https://portal.example/callback?",
        "https://portal.example/callback?a=b",
        "https://portal.example/callback#",
        "https://portal.example/callback#x",
        "https://portal.example/callback;a=b",
        "https://portal.example/./callback",
        "https://portal.example/x/../callback",
        "https://portal.example/..;/callback",
        "https://portal.example/%63allback",
        "https://portal.example/callback%00",
        "https://portal.example/callback\0",
        " https://portal.example/callback",
        "https://portal.example/callback ",
        "https://portal.example/call\tback",
        "https://portal.example/callback\r\nSet-Cookie: a=b",
        "https://portal.example\\@evil.example/callback",
        "https:\\\\portal.example\\callback",
        "https://portal.example@evil.example/callback",
        "https://portal.example/callback@evil.example",
        "https://evil.example@portal.example/callback",
        "https://a@b@portal.example/callback",
        "https://evil.example/?https://portal.example/callback",
        "https://evil.example#https://portal.example/callback",
        "https://portal.example.evil.example/callback",
        "https://pоrtal.example/callback",
        "//portal.example/callback",
        "/callback",
        "portal.example/callback",
        "javascript:alert(1)//https://portal.example/callback",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "https://portal.example/other",
        "https://portal.example/other?fixed=2",
        "https://portal.example/other?fixed=1&more=1",
        "*",
        "https://*.example/callback",
        // Another client's.
        REDIRECT_URI,
    ];
    for uri in off {
        let answer = asked(&world, "portal", uri).await;
        assert_eq!(answer.status, 400, "{uri:?}");
        let page = answer.expect_page(400);
        assert!(!page.body.contains("evil.example"), "{uri:?}");
    }
    let long = format!("https://portal.example/callback?{}", "a".repeat(5000));
    asked(&world, "portal", &long).await.expect_page(400);
    // Beside the right one, a second one.
    for (first, second) in
        [(PORTAL_URI, "https://evil.example/"), ("https://evil.example/", PORTAL_URI)]
    {
        let request = Request::of("portal", first).adding("redirect_uri", second);
        world.browser().authorize(&request).await.expect_page(400);
    }
    // It is judged before anything else that is wrong.
    let request = Request::of("portal", "https://evil.example/")
        .with("prompt", "none")
        .without("code_challenge");
    world.browser().authorize(&request).await.expect_page(400);
    // A query that was registered is kept, and added to.
    let request =
        Request::of("portal", "https://portal.example/other?fixed=1").with("prompt", "none login");
    let answer = world.browser().authorize(&request).await;
    assert!(answer.header("location").starts_with("https://portal.example/other?fixed=1&error="));
}

async fn a_loopback_redirect_uri_may_have_any_port_and_nothing_else(world: World) {
    for uri in [
        "http://127.0.0.1/callback",
        "http://127.0.0.1:1/callback",
        "http://127.0.0.1:65535/callback",
    ] {
        assert_sent_on(&world, &asked(&world, "web", uri).await);
    }
    let off = [
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:080/callback",
        "http://127.0.0.1:+80/callback",
        "http://127.0.0.1:-1/callback",
        "http://127.0.0.1:*/callback",
        "http://127.0.0.1:/callback",
        "http://127.0.0.1: 80/callback",
        "http://127.0.0.1:80:80/callback",
        "http://127.0.0.1:80/callback/",
        "http://127.0.0.1:80/callback?a=b",
        "http://127.0.0.1:80/callback#x",
        "http://127.0.0.1:80@evil.example/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://127.0.0.1:a@evil.example:80/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1:80/../callback",
        "http://localhost:80/callback",
        "http://127.0.0.2:80/callback",
        "http://[::1]:80/callback",
        "http://2130706433:80/callback",
        "http://0x7f.1:80/callback",
        "https://127.0.0.1:80/callback",
    ];
    for uri in off {
        assert_eq!(asked(&world, "web", uri).await.expect_page(400).status, 400, "{uri:?}");
    }
    // One that was registered with its port has that port and no other.
    assert_sent_on(&world, &asked(&world, "neighbour", "http://127.0.0.1:7777/callback").await);
    asked(&world, "neighbour", "http://127.0.0.1:7778/callback").await.expect_page(400);
    asked(&world, "neighbour", "http://127.0.0.1/callback").await.expect_page(400);
    assert_sent_on(&world, &asked(&world, "neighbour", "com.example.neighbour:/callback").await);
    asked(&world, "neighbour", "com.example.neighbour://callback").await.expect_page(400);
}

async fn a_client_that_is_not_known_gets_a_page(world: World) {
    let browser = world.browser();
    for client in
        ["nobody", "Web", "web ", "web\0", "", "u_aaaa", "../web", "<script>alert(1)</script>"]
    {
        let page = browser.authorize(&Request::web().with("client_id", client)).await;
        let page = page.expect_page(400);
        assert!(!page.body.contains("<script"), "{client:?}");
    }
    browser.authorize(&Request::web().without("client_id")).await.expect_page(400);
    browser.authorize(&Request::web().adding("client_id", "neighbour")).await.expect_page(400);
    browser.authorize(&Request::web().adding("client_id", "web")).await.expect_page(400);
    // Not even where nothing may be shown to anybody.
    let request = Request::web().with("client_id", "nobody").with("prompt", "none");
    browser.authorize(&request).await.expect_page(400);
    // A client without the grant has no redirect URI either.
    browser.authorize(&Request::web().with("client_id", "backend")).await.expect_page(400);
}

/// What the client is told of a request of `web`'s.
async fn refusal(world: &World, request: &Request) -> String {
    let answer = world.browser().authorize(request).await;
    let location = answer.location().unwrap_or_else(|| panic!("{}", answer.body));
    assert_eq!(parameter(&location, "iss"), Some(world.issuer.clone()));
    if request.parameters.iter().filter(|(name, _)| name == "state").count() == 1 {
        assert_eq!(parameter(&location, "state").as_deref(), Some("st4te"));
    }
    let description = parameter(&location, "error_description").unwrap();
    let allowed = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    assert!(description.bytes().all(allowed), "RFC 6749 §4.1.2.1: {description:?}");
    answer.error_at(REDIRECT_URI)
}

async fn a_request_without_a_sound_challenge_is_refused(world: World) {
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let sound = Request::web().with("code_challenge", challenge);
    assert_sent_on(&world, &world.browser().authorize(&sound).await);
    let unsound = [
        sound.clone().without("code_challenge"),
        sound.clone().without("code_challenge_method"),
        sound.clone().without("code_challenge").without("code_challenge_method"),
        sound.clone().with("code_challenge_method", "plain"),
        sound.clone().with("code_challenge_method", "s256"),
        sound.clone().with("code_challenge_method", "S512"),
        sound.clone().with("code_challenge", ""),
        sound.clone().with("code_challenge", &challenge[1..]),
        sound.clone().with("code_challenge", &format!("{challenge}A")),
        sound.clone().with("code_challenge", &format!("{challenge}=")),
        sound.clone().with("code_challenge", &challenge.replace('-', "+")),
        sound.clone().with("code_challenge", &challenge.replace('-', "é")),
    ];
    for request in &unsound {
        assert_eq!(refusal(&world, request).await, "invalid_request", "{request:?}");
    }
}

async fn a_request_that_asks_for_what_there_is_not_is_refused(world: World) {
    let of = |name: &str, value: &str| Request::web().with(name, value);
    let huge = "x".repeat(2049);
    let refused = [
        (Request::web().without("response_type"), "invalid_request"),
        (of("response_type", "token"), "unsupported_response_type"),
        (of("response_type", "id_token"), "unsupported_response_type"),
        (of("response_type", "code id_token"), "unsupported_response_type"),
        (of("response_type", "code token"), "unsupported_response_type"),
        (of("response_type", "Code"), "unsupported_response_type"),
        (of("response_mode", "fragment"), "invalid_request"),
        (of("response_mode", "form_post"), "invalid_request"),
        (of("request", "e30.e30."), "request_not_supported"),
        (of("request_uri", "https://evil.example/r"), "request_uri_not_supported"),
        (of("registration", "{}"), "registration_not_supported"),
        (of("prompt", "none login"), "invalid_request"),
        (of("max_age", "-1"), "invalid_request"),
        (of("max_age", "abc"), "invalid_request"),
        (of("scope", "open\"id"), "invalid_scope"),
        (of("scope", "a\\b"), "invalid_scope"),
        (of("scope", "ä"), "invalid_scope"),
        (of("audience", "https://api.example"), "invalid_target"),
        (of("resource", "https://api.example"), "invalid_target"),
        (of("tenant", "Acme"), "invalid_request"),
        (of("tenant", "acme/../globex"), "invalid_request"),
        (of("tenant", "initech"), "access_denied"),
        (of("tenant", "platform"), "access_denied"),
        (of("authorization_details", "{}"), "invalid_authorization_details"),
        (of("authorization_details", "[{]"), "invalid_authorization_details"),
        (of("nonce", &huge), "invalid_request"),
        (of("login_hint", &huge), "invalid_request"),
    ];
    for (request, error) in &refused {
        assert_eq!(refusal(&world, request).await, *error, "{request:?}");
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let error = refusal(&world, &of("authorization_details", &deep)).await;
    assert_eq!(error, "invalid_authorization_details");
    let long = format!("[{}]", " ".repeat(17_000));
    let error = refusal(&world, &of("authorization_details", &long)).await;
    assert_eq!(error, "invalid_authorization_details");
    // What we do not know is no error.
    let request =
        of("display", "page").with("ui_locales", "xx").with("foo", "bar").with("acr_values", "9");
    assert_sent_on(&world, &world.browser().authorize(&request).await);
    // An audience that the client declares is none either, and one more is one too many.
    let portal = Request::of("portal", PORTAL_URI).with("audience", "https://reports.example");
    assert_sent_on(&world, &world.browser().authorize(&portal).await);
    let answer =
        world.browser().authorize(&portal.adding("audience", "https://evil.example")).await;
    assert_eq!(answer.error_at(PORTAL_URI), "invalid_target");
}

async fn a_repeated_parameter_is_refused(world: World) {
    for name in
        ["scope", "state", "nonce", "code_challenge", "response_type", "tenant", "prompt", "foo"]
    {
        let request = Request::web().with(name, "x").adding(name, "x");
        assert_eq!(refusal(&world, &request).await, "invalid_request", "{name}");
    }
    // An empty parameter is none, and still there twice.
    let request = Request::web().adding("scope", "");
    assert_eq!(refusal(&world, &request).await, "invalid_request");
    // Under another spelling of its name it is the same.
    let path = format!("{}&%73cope=email", Request::web().path());
    let answer = world.browser().get(&path).await;
    assert_eq!(answer.error_at(REDIRECT_URI), "invalid_request");
}

async fn state_comes_back_as_it_was_sent(world: World) {
    let long = "s".repeat(2048);
    for state in [
        "a b+c%2Bd",
        "&error=x&code=y#f",
        "ünïcødé ✓ 😀",
        "\"'<>\\{}|^`",
        "\r\nSet-Cookie: a=b",
        &long,
    ] {
        let request = Request::web().with("state", state).with("response_type", "token");
        let answer = world.browser().authorize(&request).await;
        let location = answer.location().unwrap();
        assert_eq!(parameter(&location, "state").as_deref(), Some(state), "on an error");
        assert!(answer.headers.get("set-cookie").is_none());
    }
    let state = "a b+c%2Bd&code=x#f✓";
    let landing = world.landing(&Request::web().with("state", state), "dana").await;
    assert_eq!(parameter(&landing, "state").as_deref(), Some(state));
    assert_eq!(parameter(&landing, "iss"), Some(world.issuer.clone()));
    assert!(parameter(&landing, "code").unwrap().len() > 40);
    assert_eq!(landing.query_pairs().count(), 3, "{landing}");
    // Refused at the end of the sign-in, too; and where none was sent, none comes back.
    let landing = world.landing(&Request::web().with("state", state), "nora").await;
    assert_eq!(error_in(&landing, REDIRECT_URI), "access_denied");
    assert_eq!(parameter(&landing, "state").as_deref(), Some(state));
    let landing = world.landing(&Request::web().without("state"), "dana").await;
    assert_eq!(parameter(&landing, "state"), None);
    // And where the provider may not ask the person anything.
    let silent = Request::web().with("state", state).with("prompt", "none");
    let landing = world.landing(&silent, "dana").await;
    assert_eq!(error_in(&landing, REDIRECT_URI), "login_required");
    assert_eq!(parameter(&landing, "state").as_deref(), Some(state));
}

async fn nobody_else_hears_of_a_sign_in(world: World) {
    let browser = world.browser();
    for method in [Method::GET, Method::POST, Method::OPTIONS, Method::HEAD] {
        for origin in ["https://app.example", "https://evil.example", "null"] {
            let request = browser.request(method.clone(), &Request::web().path());
            let request = request.header("origin", origin);
            let request = request.header("access-control-request-method", "GET");
            let answer = browser.send(request).await;
            for (name, _) in &answer.headers {
                assert!(!name.as_str().starts_with("access-control-"), "{method} {origin}: {name}");
            }
        }
    }
    let answer = browser.authorize(&Request::web()).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    // By a form it is the same request.
    let request = Request::web();
    let form: Vec<_> = request.parameters.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_sent_on(&world, &browser.post("/oauth2/authorize", &form).await);
    let json = world.post_body("/oauth2/authorize", "application/json", b"{}".to_vec()).await;
    json.expect_page(400);
    let bad = world.browser().get("/oauth2/authorize?client_id=web&redirect_uri=%ff").await;
    bad.expect_page(400);
}

async fn a_tenant_or_an_address_leads_to_the_provider(world: World) {
    let browser = world.browser();
    let open = Request::web().without("tenant");
    assert_sent_on(&world, &browser.authorize(&open.clone().with("tenant", "globex")).await);
    let hinted = browser.authorize(&open.clone().with("login_hint", "Dana@ACME.example")).await;
    assert_sent_on(&world, &hinted);
    let upstream = hinted.location().unwrap();
    assert_eq!(parameter(&upstream, "login_hint").as_deref(), Some("Dana@ACME.example"));
    assert_eq!(parameter(&upstream, "code_challenge_method").as_deref(), Some("S256"));
    let redirect_uri = format!("{}/login/callback", world.issuer);
    assert_eq!(parameter(&upstream, "redirect_uri"), Some(redirect_uri));
    for secret in ["state", "nonce", "code_challenge"] {
        assert!(parameter(&upstream, secret).unwrap().len() >= 43, "{secret}");
    }
    assert!(!upstream.as_str().contains("st4te"), "the client's state is not the provider's");
    // What the client says of the person's authentication is the provider's to do.
    let prompted = browser
        .authorize(&open.with("tenant", "acme").with("prompt", "login").with("max_age", "0"))
        .await;
    let upstream = prompted.location().unwrap();
    assert_eq!(parameter(&upstream, "prompt").as_deref(), Some("login"));
    assert_eq!(parameter(&upstream, "max_age").as_deref(), Some("0"));
}

/// A world in which nothing but the address says where to go: there are two providers.
async fn with_two_providers(mut world: World) -> World {
    let corp = world.deployment.provider("corp").clone();
    let mut other = corp;
    other.insert("id".to_owned(), "other".into());
    other.insert("status".to_owned(), "active".into());
    let tenants = toml::toml! { tenants = { by = "fixed", tenant = "globex" } };
    other.insert("tenants".to_owned(), tenants["tenants"].clone());
    world.deployment.0["providers"].as_array_mut().unwrap().push(other.into());
    world.stop().await;
    world.apply(&[]);
    world.start().await;
    world
}

async fn the_page_does_not_tell_who_is_a_customer(world: World) {
    let world = with_two_providers(world).await;
    let browser = world.browser();
    let open = Request::web().without("tenant");
    let none = browser.authorize(&open.clone().with("prompt", "none")).await;
    assert_eq!(none.error_at(REDIRECT_URI), "login_required");

    let page = browser.authorize(&open).await.expect_page(200);
    let hinted = open.clone().with("login_hint", "someone@nowhere.example");
    let same = browser.authorize(&hinted).await.expect_page(200);
    assert_eq!(without_token(&page), without_token(&same));
    for name in ["acme", "globex", "corp", "Acme", "nowhere"] {
        assert!(!page.body.contains(name), "{name}");
    }
    // Nobody's, no address at all, and one that is to break out: the same page.
    let mut pages = Vec::new();
    for address in [
        "a@nowhere.example",
        "acme.example",
        "@",
        "x@acme.example@evil.example",
        "\"><script>@acme.example.evil",
    ] {
        let browser = world.browser();
        let page = browser.authorize(&open).await;
        let (action, mut fields) = page.form("email").unwrap();
        assert_eq!(action.path(), "/login/provider");
        fields.push(("email".to_owned(), address.to_owned()));
        let fields: Vec<_> = fields.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        pages.push(without_token(&browser.post(action.path(), &fields).await.expect_page(200)));
    }
    pages.dedup();
    assert_eq!(pages.len(), 1, "{pages:?}");
    // And the right one goes on, to the end.
    let browser = world.browser();
    let page = browser.authorize(&open).await;
    let (action, fields) = page.form("email").unwrap();
    let form = [(fields[0].0.as_str(), fields[0].1.as_str()), ("email", "dana@acme.example")];
    let answer = browser.post(action.path(), &form).await;
    assert_sent_on(&world, &answer);
    let landing = browser.walk(answer.location().unwrap(), "dana", REDIRECT_URI).await.unwrap();
    assert!(parameter(&landing, "code").is_some(), "{landing}");
}

/// A page's text but for what is different in each.
fn without_token(page: &Answer) -> String {
    let (_, fields) = page.form("email").unwrap();
    page.body.replace(&fields[0].1, "…")
}

async fn an_address_is_asked_for_in_one_browser_only(world: World) {
    let world = with_two_providers(world).await;
    let page = world.browser().authorize(&Request::web().without("tenant")).await;
    let (action, fields) = page.form("email").unwrap();
    let form = [(fields[0].0.as_str(), fields[0].1.as_str()), ("email", "dana@acme.example")];
    world.browser().post(action.path(), &form).await.expect_page(400);
    // With another sign-in's cookies, too.
    let stranger = world.browser();
    stranger.authorize(&Request::web().without("tenant")).await.expect_page(200);
    stranger.post(action.path(), &form).await.expect_page(400);
    stranger.post(action.path(), &[("email", "dana@acme.example")]).await.expect_page(400);
}

async fn no_parameter_makes_it_an_open_redirect(world: World) {
    let evil = [
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://evil.example",
        "/%09/evil.example",
    ];
    for name in [
        "next",
        "return_to",
        "target_link_uri",
        "post_logout_redirect_uri",
        "RelayState",
        "continue",
    ] {
        for value in evil {
            let query =
                form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
            for path in
                ["/oauth2/authorize", "/login/callback", "/login/provider", "/oauth2/token", "/"]
            {
                let answer = world.browser().get(&format!("{path}?{query}")).await;
                assert!(answer.location().is_none(), "{path}?{query}");
            }
            let request = Request::web().with(name, value);
            assert_sent_on(&world, &world.browser().authorize(&request).await);
        }
    }
}

async fn every_page_is_locked_down(world: World) {
    let page = asked(&world, "web", "https://evil.example/").await.expect_page(400);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("cache-control"), "no-store");
    // The cookie that binds a sign-in to its browser is no script's and no other site's.
    let browser = world.browser();
    browser.authorize(&Request::web()).await;
    let cookies = browser.cookies();
    assert_eq!(cookies.len(), 1);
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"] {
        assert!(
            cookies[0].header.contains(attribute),
            "{attribute}: {}",
            cookies[0].header.split_once('=').unwrap().0
        );
    }
}
