//! What a resource server knows of the revocation log, and how it follows from what it is told. No I/O, no
//! clock.

use crate::domain::Time;
use crate::domain::revocation::RevocationView;
use crate::verifier::event_stream::EventParser;
use crate::verifier::message::{Entry, Message};
use std::time::Duration;

/// A stream that is no feed, or not one that goes on from what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what came is not the revocation feed, or does not go on from what is known")]
pub(super) struct NoFeed;

/// The view, and what is needed to go on.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// None: nothing was completely told yet.
    view: Option<RevocationView>,
    /// A view that is being told anew, and the position that it is promised to reach.
    pending: Option<(u64, RevocationView)>,
    /// The last position whose end is known to have been told.
    resume: Option<u64>,
}

impl Feed {
    pub(super) const fn view(&self) -> Option<&RevocationView> {
        self.view.as_ref()
    }

    /// Where the next connection goes on. None: it begins anew.
    pub(super) const fn resume(&self) -> Option<u64> {
        self.resume
    }

    /// Of a position, which is what says that all is known: how long ago that was so.
    pub(super) fn hear(&mut self, message: &Message) -> Result<Option<Duration>, NoFeed> {
        match message {
            Message::Reset { position } => {
                self.pending = Some((*position, RevocationView::default()));
                self.resume = None;
            }
            Message::Entry(entry) => match (&mut self.pending, &mut self.view) {
                (Some((_, pending)), _) => entry.apply_to(pending),
                (None, Some(view)) if view.applied() <= entry.position => {
                    entry.apply_to(view);
                    self.resume = Some(entry.position);
                }
                _ => return Err(NoFeed),
            },
            Message::Position { position, age } => {
                match (self.pending.take(), &mut self.view) {
                    (Some((promised, mut pending)), view) if promised <= *position => {
                        pending.advance_to(*position);
                        *view = Some(pending);
                    }
                    (None, Some(view)) if view.applied() <= *position => {
                        view.advance_to(*position);
                    }
                    _ => return Err(NoFeed),
                }
                self.resume = Some(*position);
                return Ok(Some(*age));
            }
        }
        Ok(None)
    }

    /// All that is alive, at once.
    pub(super) fn replace(&mut self, position: u64, entries: &[Entry]) {
        let mut view = RevocationView::default();
        for entry in entries {
            entry.apply_to(&mut view);
        }
        view.advance_to(position);
        self.view = Some(view);
    }

    /// The connection is over. What it had not told to the end is forgotten.
    pub(super) fn disconnect(&mut self) {
        self.pending = None;
    }

    /// The connection told what cannot be: nothing goes on from it.
    pub(super) fn give_up(&mut self) {
        self.pending = None;
        self.resume = None;
    }

    pub(super) fn forget(&mut self, now: Time) {
        if let Some(view) = &mut self.view {
            view.forget(now);
        }
    }
}

/// One connection's bytes, as messages.
#[derive(Debug, Default)]
pub(super) struct Messages(EventParser);

impl Messages {
    /// Those that these bytes complete, and whether all of it can be read.
    pub(super) fn push(&mut self, bytes: &[u8]) -> (Vec<Message>, Result<(), NoFeed>) {
        let mut events = Vec::new();
        let mut whole = self.0.push(bytes, &mut events).map_err(|_| NoFeed);
        let mut messages = Vec::with_capacity(events.len());
        for event in &events {
            let Ok(message) = Message::parse(event) else {
                whole = Err(NoFeed);
                break;
            };
            messages.extend(message);
        }
        (messages, whole)
    }
}
