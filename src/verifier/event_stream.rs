//! Server-sent events (HTML Living Standard §9.2.6), as far as a feed has them: names and data.

/// Longer than any line of a feed, or the data of any event.
pub(super) const LIMIT: usize = 64 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

/// A line, or an event, that is longer than any of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Takes a stream apart, whatever pieces it comes in.
#[derive(Debug, Default)]
pub(super) struct EventParser {
    line: Vec<u8>,
    /// The last byte ended a line as CR: LF after it belongs to the same end.
    after_cr: bool,
    begun: bool,
    event: Event,
    /// Whether the event has a field `data`, perhaps an empty one.
    has_data: bool,
}

impl EventParser {
    /// Adds the events that these bytes complete, all those before what is too long.
    pub(super) fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        for &byte in bytes {
            let ends = match byte {
                b'\n' if std::mem::take(&mut self.after_cr) => continue,
                b'\n' => true,
                b'\r' => {
                    self.after_cr = true;
                    true
                }
                _ => {
                    self.after_cr = false;
                    false
                }
            };
            if ends {
                let line = std::mem::take(&mut self.line);
                events.extend(self.end_line(&line)?);
            } else if self.line.len() == LIMIT {
                return Err(TooLong);
            } else {
                self.line.push(byte);
            }
        }
        Ok(())
    }

    fn end_line(&mut self, line: &[u8]) -> Result<Option<Event>, TooLong> {
        let mut line = String::from_utf8_lossy(line);
        if !std::mem::replace(&mut self.begun, true)
            && let Some(rest) = line.strip_prefix('\u{feff}')
        {
            line = rest.to_owned().into();
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                if self.event.data.len() > LIMIT {
                    return Err(TooLong);
                }
            }
            // A comment, or a field that tells a feed's reader nothing.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(parser: &mut EventParser, bytes: impl AsRef<[u8]>) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        parser.push(bytes.as_ref(), &mut events).map(|()| events)
    }

    #[test]
    fn what_is_too_long_is_never_held() {
        let mut parser = EventParser::default();
        assert_eq!(push(&mut parser, vec![b'x'; LIMIT]), Ok(vec![]));
        assert_eq!(push(&mut parser, "x"), Err(TooLong));
        let mut parser = EventParser::default();
        let line = format!("data: {}\n", "x".repeat(LIMIT / 4));
        for _ in 0..3 {
            assert_eq!(push(&mut parser, &line), Ok(vec![]));
        }
        assert_eq!(push(&mut parser, &line), Err(TooLong));
    }

    #[test]
    fn an_event_has_a_name_and_data() {
        let event = |name: &str, data: &str| Event { name: name.into(), data: data.into() };
        let text = "event: a\ndata: 1\n\ndata: 2\ndata\n\nevent: c\n\ndata:  3\n\n";
        let expected = vec![event("a", "1"), event("", "2\n"), event("", " 3")];
        assert_eq!(push(&mut EventParser::default(), text), Ok(expected));
    }
}
