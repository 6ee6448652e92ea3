//! The applications that are registered at the demo provider.

use crate::domain::secret::Digest;
use url::{Host, Url};

/// What the server proves itself with here. No secret at all: it opens a demo on this machine only.
pub(crate) const SERVER_SECRET: &str = "dev-only";
/// The server's own registration.
pub(crate) const SERVER_ID: &str = "rolemint";
/// An application that signs people in by itself and exchanges their ID tokens afterwards.
pub(crate) const ELSEWHERE_ID: &str = "demo-backend-app";

#[derive(Debug)]
pub(super) struct Application {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// None: a public client.
    secret: Option<&'static str>,
    redirect: Redirect,
}

#[derive(Debug)]
enum Redirect {
    /// The callback of the server that this provider was started for, and nothing else.
    Server,
    AnyLoopback,
}

static APPLICATIONS: [Application; 2] = [
    Application {
        id: SERVER_ID,
        name: "Rolemint",
        secret: Some(SERVER_SECRET),
        redirect: Redirect::Server,
    },
    Application {
        id: ELSEWHERE_ID,
        name: "an application elsewhere",
        secret: None,
        redirect: Redirect::AnyLoopback,
    },
];

impl Application {
    pub(super) fn find(id: &str) -> Option<&'static Self> {
        APPLICATIONS.iter().find(|application| application.id == id)
    }

    pub(super) fn accepts_redirect(&self, uri: &str, callback: &str) -> bool {
        match self.redirect {
            Redirect::Server => uri == callback,
            Redirect::AnyLoopback => is_loopback(uri),
        }
    }

    /// Whether this is how the application proves itself: with its secret, or by having none.
    pub(super) fn is_proved_by(&self, secret: Option<&str>) -> bool {
        match (self.secret, secret) {
            (Some(own), Some(presented)) => Digest::of(own) == Digest::of(presented),
            (None, None) => true,
            _ => false,
        }
    }
}

fn is_loopback(uri: &str) -> bool {
    let Ok(url) = Url::parse(uri) else { return false };
    let host = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    // SECURITY: what the parser saw must be what is written, or a browser may see something else.
    let written_plainly = uri.starts_with("http://") && !uri.contains(['\\', '#', '@', ' ']);
    host && written_plainly
}
