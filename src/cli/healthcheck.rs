//! `rolemint healthcheck`: for containers, which have no other program to ask with.

use anyhow::{Context as _, bail};
use clap::Args;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;
use url::Url;

const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
pub(super) struct Healthcheck {
    /// What to ask; plain http only
    #[arg(long, default_value = "http://127.0.0.1:8080/healthz")]
    url: Url,
}

impl Healthcheck {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let status = status_of(&self.url).with_context(|| format!("cannot ask {}", self.url))?;
        if status != "200" {
            bail!("{} answered {status}", self.url);
        }
        Ok(())
    }
}

fn status_of(url: &Url) -> anyhow::Result<String> {
    if url.scheme() != "http" {
        bail!("only http URLs can be asked");
    }
    let host = url.host_str().context("the URL names no host")?;
    let port = url.port_or_known_default().unwrap_or(80);
    // `ToSocketAddrs` takes an IPv6 address without the brackets that a URL has.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let address = (name, port).to_socket_addrs()?.next().context("the host has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let path = url.path();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // `HTTP/1.1 200`, and nothing else is of interest.
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    Ok(status.context("the answer is not HTTP")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answered(answer: &'static str) -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let outcome = Healthcheck { url: url.parse().unwrap() }.run();
        assert!(server.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:"));
        outcome
    }

    #[test]
    fn only_200_is_well() {
        assert!(answered("HTTP/1.1 200 OK\r\n\r\n").is_ok());
        assert!(answered("HTTP/1.1 503 Service Unavailable\r\n\r\n").is_err());
        assert!(answered("SSH-2.0-OpenSSH").is_err());
        assert!(answered("").is_err());
        assert!(Healthcheck { url: "https://127.0.0.1/".parse().unwrap() }.run().is_err());
    }
}
