//! Codes and access tokens that the demo provider has given out: in memory, short-lived, bounded.

use crate::dev::people::Person;
use crate::dev::provider::application::Application;
use crate::domain::scope::ScopeSet;
use std::collections::HashMap;

const LIMIT: usize = 1024;
/// Seconds.
pub(super) const CODE_LIFETIME: i64 = 60;
pub(super) const ACCESS_LIFETIME: i64 = 300;

#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) application: &'static Application,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) scope: ScopeSet,
    pub(super) person: &'static Person,
    /// When she signed in, in seconds since 1970.
    pub(super) auth_time: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) person: &'static Person,
    pub(super) scope: ScopeSet,
    expires: i64,
    /// The code that it was given for.
    code: String,
}

#[derive(Debug)]
enum Entry {
    Fresh(Box<Code>),
    Spent,
}

#[derive(Debug, Default)]
pub(super) struct Issued {
    codes: HashMap<String, (Entry, i64)>,
    access: HashMap<String, Access>,
}

/// There is no room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Issued {
    fn make_room(&mut self, now: i64) -> Result<(), Full> {
        self.codes.retain(|_, (_, expires)| now < *expires);
        self.access.retain(|_, access| now < access.expires);
        if self.codes.len() < LIMIT && self.access.len() < LIMIT { Ok(()) } else { Err(Full) }
    }

    pub(super) fn insert_code(&mut self, text: String, code: Code, now: i64) -> Result<(), Full> {
        self.make_room(now)?;
        let entry = Entry::Fresh(Box::new(code));
        self.codes.insert(text, (entry, now.saturating_add(CODE_LIFETIME)));
        Ok(())
    }

    /// Takes a code for the application that it was made for. It is spent whatever comes of it; a
    /// second use ends what the first one was given (RFC 6749 §4.1.2).
    pub(super) fn redeem(
        &mut self,
        text: &str,
        application: &Application,
        now: i64,
    ) -> Option<Code> {
        let (entry, expires) = self.codes.get_mut(text)?;
        match entry {
            Entry::Fresh(code) if code.application.id == application.id => {
                let code = (**code).clone();
                let in_time = now < *expires;
                *entry = Entry::Spent;
                in_time.then_some(code)
            }
            Entry::Fresh(_) => None,
            Entry::Spent => {
                self.access.retain(|_, access| access.code != text);
                None
            }
        }
    }

    pub(super) fn insert_access(
        &mut self,
        token: String,
        code: String,
        (person, scope): (&'static Person, ScopeSet),
        now: i64,
    ) -> Result<(), Full> {
        self.make_room(now)?;
        let expires = now.saturating_add(ACCESS_LIFETIME);
        self.access.insert(token, Access { person, scope, expires, code });
        Ok(())
    }

    pub(super) fn find_access(&self, token: &str, now: i64) -> Option<&Access> {
        self.access.get(token).filter(|access| now < access.expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::people::PEOPLE;

    fn code() -> Code {
        Code {
            application: Application::find("rolemint").unwrap(),
            redirect_uri: String::new(),
            challenge: String::new(),
            nonce: None,
            scope: ScopeSet::default(),
            person: &PEOPLE[0],
            auth_time: 0,
        }
    }

    #[test]
    fn a_code_is_for_one_application_once_and_not_for_long() {
        let mut issued = Issued::default();
        let own = Application::find("rolemint").unwrap();
        let other = Application::find("demo-backend-app").unwrap();
        issued.insert_code("a".into(), code(), 0).unwrap();
        assert!(issued.redeem("a", other, 1).is_none());
        assert!(issued.redeem("a", own, 1).is_some());
        let who = (&PEOPLE[0], ScopeSet::default());
        issued.insert_access("t".into(), "a".into(), who, 1).unwrap();
        assert!(issued.find_access("t", 300).is_some());
        assert!(issued.find_access("t", 301).is_none());
        assert!(issued.redeem("a", own, 2).is_none());
        assert!(issued.find_access("t", 2).is_none(), "a second use ends what the first gave");
        issued.insert_code("b".into(), code(), 0).unwrap();
        assert!(issued.redeem("b", own, CODE_LIFETIME).is_none());
    }

    #[test]
    fn memory_is_bounded_and_what_expired_makes_room() {
        let mut issued = Issued::default();
        for i in 0..LIMIT {
            issued.insert_code(i.to_string(), code(), 0).unwrap();
        }
        assert_eq!(issued.insert_code("more".into(), code(), 1), Err(Full));
        assert_eq!(issued.insert_code("more".into(), code(), CODE_LIFETIME), Ok(()));
    }
}
