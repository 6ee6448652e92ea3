//! What publishing a template would do to everybody, told while it is found out: one JSON object a line.

use crate::domain::administration::Act;
use crate::http::api::admin::Admin;
use crate::http::api::candidate::Named;
use crate::http::api::json::read_json;
use crate::http::api::problem::{Kind, Problem};
use crate::http::body::Body;
use crate::service::impact::{ImpactEvent, ImpactRun, NotRun, Stopped};
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToTry {
    document: Option<Box<RawValue>>,
    draft: Option<u64>,
    version: Option<u64>,
}

/// It names people, and so it takes the permission to change.
pub(in crate::http) async fn stream(
    admin: Admin,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::Manage)?;
    let ToTry { document, draft, version } = read_json(&request, body)?;
    let source = admin.source(&name, Named { document, draft, version }.content()?).await?;
    let run = admin.service.impact(&name, &source).await.map_err(|not| not_run(&admin, not))?;
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_TYPE, "application/x-ndjson"));
    Ok(response.body(Lines(run)))
}

/// The run ends with whoever reads it: a connection that is closed drops this.
struct Lines(ImpactRun);

impl MessageBody for Lines {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let next = self.get_mut().0.poll_next(cx);
        next.map(|event| event.map(|event| Ok(format!("{}\n", shown(&event)).into())))
    }
}

fn shown(event: &ImpactEvent) -> Value {
    match event {
        ImpactEvent::Progress(progress) => json!({ "progress": progress }),
        ImpactEvent::Report(report) => json!({ "report": report }),
        ImpactEvent::Stopped(stopped) => {
            let (code, detail) = match stopped {
                Stopped::VocabularyChanged => ("out_of_date", stopped.to_string()),
                // What it was is in the log.
                Stopped::Unavailable(_) => ("unavailable", "start again in a moment".to_owned()),
            };
            json!({ "stopped": { "code": code, "message": detail } })
        }
    }
}

fn not_run(admin: &Admin, not: NotRun) -> Problem {
    match not {
        NotRun::NotDone(not) => admin.not_done(not),
        NotRun::Busy => Problem::new(Kind::Busy, not.to_string()),
        NotRun::VocabularyChanged => Problem::new(Kind::OutOfDate, not.to_string()),
        NotRun::NoThread(cause) => {
            Problem::new(Kind::Unavailable, "nothing was begun; try again in a moment")
                .because(&cause)
        }
        NotRun::Unavailable(cause) => cause.into(),
    }
}
