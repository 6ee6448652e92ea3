//! The revocation log for resource servers: as server-sent events, and signed as a whole; and what they say
//! that they have applied.

use crate::domain::feed::{FeedFilter, parse_position};
use crate::domain::ids::ReaderName;
use crate::http::api::answer::nothing;
use crate::http::api::json::read_json;
use crate::http::api::precondition::has_seen;
use crate::http::api::problem::{Kind, Mistake, Problem};
use crate::http::api::resource_server::Reader;
use crate::http::body::Body;
use crate::http::parameters::Parameters;
use crate::service::feed::{FeedStream, NotHeard, NotOpened};
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{self, HeaderName};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// HTML Living Standard §9.2.4: the id of the last event that a reader has seen.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What proxies in wide use (nginx) take for "pass it on as it comes".
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

pub(in crate::http) async fn stream(
    reader: Reader,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (wanted, after) = parameters(&request)?;
    let last = request.headers().get(LAST_EVENT_ID).map(|last| last.to_str().unwrap_or_default());
    let last = last.or(after.as_deref()).and_then(parse_position);
    let Reader { server, service } = reader;
    let stream = service.open_feed(server, wanted, last).await?;
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(UNBUFFERED)
        // Nothing else is ever asked for over this connection.
        .force_close();
    Ok(response.body(Frames::of(stream)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Applied {
    reader: ReaderName,
    position: u64,
}

pub(in crate::http) async fn show_snapshot(
    reader: Reader,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (wanted, _) = parameters(&request)?;
    let Reader { server, service } = reader;
    let snapshot = service.snapshot(server, wanted)?;
    // Weak: each is signed anew, and says the same.
    let tag = format!("W/\"{}\"", snapshot.tag());
    let mut response =
        if has_seen(&request, &tag) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::AGE, snapshot.age().as_secs()))
        .insert_header((header::ETAG, tag.clone()));
    if has_seen(&request, &tag) {
        return Ok(response.finish());
    }
    let signed = service.sign_snapshot(&snapshot).await?;
    Ok(response.content_type("application/jwt").body(signed))
}

pub(in crate::http) async fn hear_applied(
    reader: Reader,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let Reader { server, service } = reader;
    let Applied { reader, position } = read_json(&request, body)?;
    service.hear_reader(&server, reader, position).await?;
    Ok(nothing())
}

/// What a reader cares for, and where it was, if it says so here.
fn parameters(request: &HttpRequest) -> Result<(FeedFilter, Option<String>), Problem> {
    let malformed = |_| Problem::invalid("the query of the address is malformed");
    let query = request.query_string().as_bytes();
    let parameters =
        Parameters::parse_repeating(query, &["audience", "tenant"]).map_err(malformed)?;
    if parameters.repeated().is_some() {
        return Err(Problem::invalid("give each parameter but `audience` and `tenant` once"));
    }
    let tenants = parameters.all("tenant").into_iter().map(|id| id.parse());
    let tenants: Result<_, _> = tenants.collect();
    // SECURITY: a name that is none is not left out, or the reader would hear of less than it thinks.
    let wrong = |_| Problem::invalid("the parameter `tenant` has to be the id of a tenant");
    let audiences = parameters.all("audience").into_iter().collect();
    Ok((FeedFilter { audiences, tenants: tenants.map_err(wrong)? }, parameters.owned("after")))
}

type Next = Pin<Box<dyn Future<Output = (FeedStream, Option<String>)>>>;

/// Asked for more when the connection can take more. A connection that is closed drops this, and the stream
/// with it.
struct Frames {
    /// None: it has ended.
    next: Option<Next>,
}

impl Frames {
    fn of(stream: FeedStream) -> Self {
        Self { next: Some(Self::next(stream)) }
    }

    fn next(mut stream: FeedStream) -> Next {
        Box::pin(async move {
            let next = stream.next().await;
            (stream, next)
        })
    }
}

impl MessageBody for Frames {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        loop {
            let Some(next) = &mut self.next else { return Poll::Ready(None) };
            let (stream, frames) = ready!(next.as_mut().poll(cx));
            self.next = frames.is_some().then(|| Self::next(stream));
            // An empty chunk would end the body (RFC 9112 §7.1), where nothing of a portion is for this reader.
            if frames.as_ref().is_none_or(|frames| !frames.is_empty()) {
                return Poll::Ready(frames.map(|frames| Ok(frames.into())));
            }
        }
    }
}

impl From<NotOpened> for Problem {
    fn from(not: NotOpened) -> Self {
        match not {
            NotOpened::Audience => {
                let detail = "ask for audiences that the client is declared to introspect";
                Self::new(Kind::Forbidden, detail).because(&not).challenging(&[])
            }
            NotOpened::TooMany => {
                Self::new(Kind::Unavailable, "close a stream, or ask for a higher limit")
                    .because(&not)
            }
            NotOpened::Unavailable(cause) => cause.into(),
        }
    }
}

impl From<NotHeard> for Problem {
    fn from(not: NotHeard) -> Self {
        match not {
            NotHeard::Ahead => Self::invalid("report what was told and applied")
                .with([Mistake::at("/position", not.to_string())]),
            NotHeard::TooMany => {
                Self::new(Kind::Busy, "give a reader that takes another's place the same name")
                    .because(&not)
            }
            NotHeard::Unavailable(cause) => cause.into(),
        }
    }
}
