//! `/metrics`, in the text format of Prometheus, for whoever has its token.

use crate::domain::secret::Digest;
use crate::http::Edge;
use crate::http::bearer::bearer;
use crate::service::Service;
use crate::service::feed::Reader;
use crate::service::metrics::Figures;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use std::fmt::{self, Write as _};

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where no token is configured, there is no such address.
pub(super) async fn show_metrics(
    request: HttpRequest,
    edge: Data<Edge>,
    service: Data<Service>,
) -> HttpResponse {
    let Some(token) = edge.metrics_token else { return HttpResponse::NotFound().finish() };
    if bearer(&request).map(Digest::of) != Some(token) {
        return HttpResponse::Unauthorized()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"rolemint metrics\""))
            .finish();
    }
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type(TEXT_FORMAT)
        .body(Page::of(&service.figures().await))
}

/// Metrics, each once with all its samples.
#[derive(Default)]
struct Page(String);

impl Page {
    fn of(figures: &Figures) -> String {
        let mut page = Self::default();
        page.metric("rolemint_refreshes_total", "counter", "Refreshes by their outcome.");
        for (outcome, count) in &figures.refreshes {
            page.sample("rolemint_refreshes_total", &[("outcome", outcome)], count);
        }
        for (name, kind, help, value) in [
            (
                "rolemint_revocations_written_total",
                "counter",
                "Entries of the revocation log that this node wrote for clients.",
                figures.revocations_written.to_string(),
            ),
            (
                "rolemint_revocation_log_position",
                "gauge",
                "Position of the revocation log that this node has applied.",
                figures.log_position.to_string(),
            ),
            (
                "rolemint_revocation_view_age_seconds",
                "gauge",
                "Time since this node has read the revocation log.",
                figures.view_age.as_secs_f64().to_string(),
            ),
            (
                "rolemint_revocation_entries_held",
                "gauge",
                "Live entries of the revocation log in memory.",
                figures.entries_held.to_string(),
            ),
            (
                "rolemint_feed_streams_open",
                "gauge",
                "Open streams of the revocation feed.",
                figures.streams.to_string(),
            ),
        ] {
            page.metric(name, kind, help);
            page.sample(name, &[], value);
        }
        if let Some(readers) = &figures.readers {
            page.readers(readers);
        }
        page.0
    }

    fn readers(&mut self, readers: &[Reader]) {
        const ENTRIES: &str = "rolemint_revocation_reader_lag_entries";
        const SECONDS: &str = "rolemint_revocation_reader_lag_seconds";
        self.metric(ENTRIES, "gauge", "Entries of the revocation log that a reader lacks.");
        for reader in readers {
            self.sample(ENTRIES, &labels(reader), reader.lag.entries);
        }
        self.metric(SECONDS, "gauge", "Time since the first entry that a reader lacks.");
        for reader in readers {
            self.sample(SECONDS, &labels(reader), reader.lag.seconds);
        }
    }

    // Writing to a string does not fail.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            write!(self.0, "{before}{label}=\"{}\"", escaped(text)).ok();
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.0, "{end} {value}").ok();
    }
}

fn labels(reader: &Reader) -> [(&str, &str); 2] {
    [("client_id", reader.report.client.as_str()), ("reader", reader.report.reader.as_str())]
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_write_another_sample() {
        let mut page = Page::default();
        page.sample("a", &[("client_id", "x\"} 7\\\n"), ("reader", "r")], 1);
        assert_eq!(page.0, "a{client_id=\"x\\\"} 7\\\\\\n\",reader=\"r\"} 1\n");
    }
}
