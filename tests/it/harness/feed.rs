//! A reader of the revocation feed, event by event.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::Value;

use super::http::{Answer, Browser};
use super::world::World;

/// Longer than a test may take.
const LIMIT: Duration = Duration::from_secs(200);

/// A stream of `/v1/revocations`.
pub(crate) struct Stream {
    response: reqwest::Response,
    received: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<u64>,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Event {
    pub(crate) fn position(&self) -> u64 {
        self.data["position"].as_u64().unwrap()
    }
}

impl World {
    /// A stream of everything, for this client.
    pub(crate) async fn feed(&self, client: &str) -> Stream {
        self.feed_at(&self.browser(), client, "", None).await
    }

    pub(crate) async fn feed_at(
        &self,
        node: &Browser,
        client: &str,
        query: &str,
        last: Option<&str>,
    ) -> Stream {
        let request = node.request(Method::GET, &format!("/v1/revocations{query}"));
        let request = request.timeout(LIMIT).header(AUTHORIZATION, self.basic(client));
        let request =
            last.iter().fold(request, |request, last| request.header("last-event-id", *last));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Stream { response, received: Vec::new() }
    }

    /// What is answered in place of a stream.
    pub(crate) async fn feed_refused(&self, authorization: Option<&str>, query: &str) -> Answer {
        let browser = self.browser();
        let request = browser.request(Method::GET, &format!("/v1/revocations{query}"));
        let with = |request: reqwest::RequestBuilder, value| request.header(AUTHORIZATION, value);
        browser.send(authorization.into_iter().fold(request, with)).await
    }
}

impl Stream {
    /// None: the server has ended it, as it should. A connection that breaks off is a failure.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.received.drain(..end + 2).collect();
                return Some(parse(std::str::from_utf8(&event).unwrap()));
            }
            let Some(chunk) = self.response.chunk().await.unwrap() else {
                assert_eq!(self.received, b"", "half an event");
                return None;
            };
            self.received.extend_from_slice(&chunk);
        }
    }

    /// The next that is no mere sign of life: one of the positions that were there before.
    pub(crate) async fn news(&mut self) -> Event {
        loop {
            let event = self.next().await.expect("more");
            if event.name != "position" {
                return event;
            }
        }
    }

    /// Everything up to the `position` that ends a reset: what is alive, and up to where.
    pub(crate) async fn alive(&mut self) -> (Vec<Value>, u64) {
        let reset = self.next().await.expect("a reset");
        assert_eq!((reset.name.as_str(), reset.id), ("reset", None));
        let mut entries = Vec::new();
        loop {
            let event = self.next().await.expect("more");
            if event.name == "position" {
                assert_eq!(
                    (event.position(), event.id),
                    (reset.position(), Some(reset.position()))
                );
                return (entries, event.position());
            }
            assert_eq!((event.name.as_str(), event.id), ("revocation", None), "{event:?}");
            entries.push(event.data);
        }
    }
}

fn parse(text: &str) -> Event {
    let (mut id, mut name, mut data) = (None, None, None);
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.split_once(": ").unwrap() {
            ("id", value) => id = Some(value.parse().unwrap()),
            ("event", value) => name = Some(value.to_owned()),
            ("data", value) => data = Some(serde_json::from_str(value).unwrap()),
            _ => panic!("{line}"),
        }
    }
    Event { id, name: name.unwrap(), data: data.unwrap() }
}
