//! A JSON body, read strictly: its type is declared, its members are known, and none stands twice.

use crate::http::api::problem::{Kind, Mistake, Problem};
use crate::http::body::{Body, Unread, is_declared};
use actix_web::HttpRequest;
use actix_web::web::Bytes;
use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::HashSet;
use std::fmt;

/// The text of a JSON body, which may be anything.
pub(super) fn read_text(request: &HttpRequest, body: Body) -> Result<String, Problem> {
    let bytes = read(body)?;
    if !is_declared(request, "application/json") {
        let detail = "send the header `Content-Type: application/json`";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let not_text = |_| Problem::invalid("the body must be JSON in UTF-8");
    String::from_utf8(bytes.to_vec()).map_err(not_text)
}

/// The body as what the endpoint takes.
pub(super) fn read_json<T: DeserializeOwned>(
    request: &HttpRequest,
    body: Body,
) -> Result<T, Problem> {
    let text = read_text(request, body)?;
    let read =
        serde_json::from_str::<NoneTwice>(&text).and_then(|NoneTwice| serde_json::from_str(&text));
    read.map_err(|error| {
        // The message speaks of the caller's own body and of the names of members that we take.
        let shown = error.to_string();
        let plain = shown.rsplit_once(" at line ").map_or(shown.as_str(), |(plain, _)| plain);
        let mistake = Mistake {
            pointer: None,
            path: None,
            line: Some(error.line()),
            column: Some(error.column()),
            message: plain.to_owned(),
        };
        Problem::invalid("mend the JSON of the request body").with([mistake])
    })
}

fn read(body: Body) -> Result<Bytes, Problem> {
    body.0.map_err(|unread| match unread {
        Unread::TooLarge => Problem::new(Kind::BodyTooLarge, "send less at once"),
        Unread::TooSlow => Problem::new(Kind::BodyTooSlow, "send the whole body at once"),
        Unread::Broken => Problem::invalid("the body ended early; send it again"),
    })
}

/// Any JSON in which no member stands twice in one object: parsers disagree on which of the two counts.
struct NoneTwice;

impl<'de> Deserialize<'de> for NoneTwice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for NoneTwice {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self, A::Error> {
        while access.next_element::<Self>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self, A::Error> {
        let mut names: HashSet<String> = HashSet::new();
        while let Some(name) = access.next_key::<String>()? {
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format_args!("`{twice}` stands twice")));
            }
            access.next_value::<Self>()?;
        }
        Ok(self)
    }
}
