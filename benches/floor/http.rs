//! As much of an HTTP/1.1 client as a load generator needs: one connection that is kept, one request at
//! a time, answers with a length.

use anyhow::{Context as _, bail};
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// Borrowed from the connection: gone with the next request.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) head: &'a str,
    pub(crate) body: &'a str,
}

impl Answer<'_> {
    /// All headers of that name, which is asked for in lower case.
    pub(crate) fn headers<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b str> {
        self.head.lines().filter_map(move |line| header(line, name))
    }
}

fn header<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    found.eq_ignore_ascii_case(name).then(|| value.trim())
}

/// A request with a form, ready to be sent.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n")
}

impl Connection {
    pub(crate) async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(8 * 1024) })
    }

    pub(crate) async fn send(&mut self, request: &str) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(request.as_bytes()).await?;
        self.received.clear();
        let (mut head, mut end) = (0, None);
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the connection was closed");
            }
            if end.is_none()
                && let Some(at) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            {
                let text = std::str::from_utf8(self.received.get(..at).unwrap_or_default())?;
                let length = text.lines().find_map(|line| header(line, "content-length"));
                let length: usize = length.map_or(Ok(0), str::parse)?;
                head = at;
                end = Some(at + 4 + length);
            }
            if end.is_some_and(|end| self.received.len() >= end) {
                break;
            }
        }
        let text = std::str::from_utf8(&self.received)?;
        let (head, body) = text.split_at_checked(head).context("a head ends in a character")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok(Answer { status, head, body: body.trim_start() })
    }
}
