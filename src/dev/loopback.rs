//! Plain HTTP to a server on this machine: one request, one bounded answer.
//!
//! The demo's own servers speak to each other with it. Whatever leaves the machine goes through
//! `upstream`, which knows TLS, time limits and redirects.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ANSWER_LIMIT: u64 = 256 * 1024;
const TIME_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a str,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub(crate) async fn send(port: u16, request: &Request<'_>) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(write(port, request)?.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.take(ANSWER_LIMIT).read_to_end(&mut bytes).await?;
        parse(&bytes)
    };
    timeout(TIME_LIMIT, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// HTTP/1.0: the answer ends with the connection, so there are no chunks to take apart.
fn write(port: u16, request: &Request<'_>) -> io::Result<String> {
    let Request { method, target, headers, body } = request;
    let host = format!("127.0.0.1:{port}");
    let lines: String =
        headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
    let head = format!("{method} {target} HTTP/1.0\r\nhost: {host}\r\n{lines}");
    // SECURITY: a line break in a value would start a header, or a request, of somebody else's choice.
    if head.matches("\r\n").count() != headers.len() + 2
        || head.replace("\r\n", "").contains(['\r', '\n'])
        || target.contains(' ')
    {
        return Err(malformed("a header holds a line break"));
    }
    Ok(format!("{head}content-length: {}\r\n\r\n{body}", body.len()))
}

fn parse(bytes: &[u8]) -> io::Result<Answer> {
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| malformed("no end of head"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| malformed("no status"))?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let answer = Answer { status, headers, body: body.to_owned() };
    let announced = answer.header("content-length").and_then(|length| length.parse().ok());
    if announced.is_some_and(|length: usize| length != body.len()) {
        return Err(malformed("the answer is cut off or too long"));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart_and_a_cut_one_refused() {
        let whole = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nX-A:  b \r\n\r\n{}";
        let answer = parse(whole).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (401, "{}"));
        assert_eq!(answer.header("x-a"), Some("b"));
        assert!(parse(&whole[..whole.len() - 1]).is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\n").is_err());
        assert!(parse(b"\r\n\r\n").is_err());
    }

    #[test]
    fn no_value_starts_a_header_of_its_own() {
        let request = |target, value| {
            let headers = [("authorization", value)];
            write(1, &Request { method: "GET", target, headers: &headers, body: "" }).map(|_| ())
        };
        assert!(request("/", "Bearer x").is_ok());
        for (target, value) in
            [("/", "x\r\ny: z"), ("/", "x\ny"), ("/a b", "x"), ("/\r\nx: y", "x"), ("/", "x\r")]
        {
            assert!(request(target, value).is_err(), "{target} {value}");
        }
    }
}
