//! The applications that are registered at the demo provider.

use crate::dev::people::Person;
use crate::domain::secret::Digest;
use url::{Host, Url};

/// What the server proves itself with here. No secret at all: it opens a demo on this machine only.
pub(crate) const SERVER_SECRET: &str = "dev-only";
/// The provider's registration for people of the tenants.
pub(crate) const SERVER_ID: &str = "rolemint";
/// The one for the platform's own staff.
pub(crate) const PLATFORM_ID: &str = "rolemint-platform";
/// An application that signs people in by itself and exchanges their ID tokens afterwards.
pub(crate) const ELSEWHERE_ID: &str = "demo-backend-app";

#[derive(Debug)]
pub(super) struct Application {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// None: a public client.
    secret: Option<&'static str>,
    redirect: Redirect,
    people: People,
}

#[derive(Debug)]
enum Redirect {
    /// The callback of the server that this provider was started for, and nothing else.
    Server,
    AnyLoopback,
}

/// Who is assigned to an application, as companies' providers have it.
#[derive(Debug)]
enum People {
    Customers,
    Staff,
    Everybody,
}

static APPLICATIONS: [Application; 3] = [
    Application {
        id: SERVER_ID,
        name: "Rolemint",
        secret: Some(SERVER_SECRET),
        redirect: Redirect::Server,
        people: People::Customers,
    },
    Application {
        id: PLATFORM_ID,
        name: "Rolemint for platform staff",
        secret: Some(SERVER_SECRET),
        redirect: Redirect::Server,
        people: People::Staff,
    },
    Application {
        id: ELSEWHERE_ID,
        name: "an application elsewhere",
        secret: None,
        redirect: Redirect::AnyLoopback,
        people: People::Everybody,
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

    pub(super) const fn admits(&self, person: &Person) -> bool {
        match self.people {
            People::Customers => !person.staff,
            People::Staff => person.staff,
            People::Everybody => true,
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
