//! How far the readers of the revocation feed have come, for administrators.

use crate::domain::Time;
use crate::domain::administration::{Act, Area, Reach};
use crate::domain::feed_reader::ReaderReport;
use crate::domain::ids::{ClientId, ReaderName};
use crate::http::api::admin::Admin;
use crate::http::api::answer::shown;
use crate::http::api::problem::Problem;
use crate::service::feed::Reader;
use actix_web::HttpResponse;
use serde::Serialize;

#[derive(Serialize)]
struct Readers<'a> {
    position: u64,
    readers: Vec<ReaderView<'a>>,
}

#[derive(Serialize)]
struct ReaderView<'a> {
    client_id: &'a ClientId,
    reader: &'a ReaderName,
    position: u64,
    behind: u64,
    lag_seconds: i64,
    reported_at: Time,
}

impl<'a> From<&'a Reader> for ReaderView<'a> {
    fn from(Reader { report, lag }: &'a Reader) -> Self {
        Self {
            client_id: &report.client,
            reader: &report.reader,
            position: report.position,
            behind: lag.entries,
            lag_seconds: lag.seconds,
            reported_at: report.reported_at,
        }
    }
}

pub(in crate::http) async fn list_readers(admin: Admin) -> Result<HttpResponse, Problem> {
    // A resource server serves all tenants.
    admin.permit_in(Area::Sessions, Act::View, Reach::AllTenants)?;
    let (position, readers) = admin.service.feed_readers(ReaderReport::KEPT).await?;
    Ok(shown(Readers { position, readers: readers.iter().map(ReaderView::from).collect() }))
}
