//! Requests to `/v1` and `/api/v1`, in JSON, and the problems that they answer.

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;
use url::form_urlencoded;

use super::http::Answer;
use super::world::World;

impl Answer {
    /// A problem (RFC 9457) of this kind.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, kind: &str) -> Self {
        let answer = self.expect(status);
        let problem = answer.json();
        assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.body);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(problem["type"], format!("urn:rolemint:problem:{kind}"), "{}", answer.body);
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{}", answer.body);
        answer
    }

    /// Where the mistakes of a problem are, as JSON pointers.
    #[track_caller]
    pub(crate) fn pointers(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{}", self.body));
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    }
}

impl World {
    /// The Authorization header of a confidential client.
    pub(crate) fn basic(&self, client: &str) -> String {
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair =
            format!("{}:{}", encoded(client), encoded(&self.deployment.client_secret(client)));
        format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()))
    }

    /// A JSON body under this Authorization header.
    pub(crate) async fn post_json(&self, authorization: &str, path: &str, body: &Value) -> Answer {
        let browser = self.browser();
        let request = browser.request(Method::POST, path).header(AUTHORIZATION, authorization);
        let request = request.header(CONTENT_TYPE, "application/json");
        browser.send(request.body(body.to_string())).await
    }
}
