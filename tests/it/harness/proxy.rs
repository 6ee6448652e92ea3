//! A wire that can be bad: a TCP proxy on loopback between a client and a server. It runs on a thread of its own,
//! so that it goes on whatever the test and the server under test are doing.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use url::Url;

use super::soon;

/// What the wire does with every chunk that comes by.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wire {
    Pass,
    /// As long as this, or so long at random.
    Delay(RangeInclusive<Duration>),
    /// Connections are accepted, and nothing gets through until the wire is good again.
    Hold,
    /// Connections are closed, those that are there and those that come.
    Refuse,
    /// As `Pass`, but the first connection that has an answer to bring is closed instead.
    CutAnswer,
}

pub(crate) struct Proxy {
    url: Url,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    target: SocketAddr,
    wire: watch::Sender<Wire>,
    /// Goes up whenever all connections are to be closed.
    cuts: watch::Sender<u64>,
    answers_cut: AtomicU64,
    connections: AtomicU64,
    numbers: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

impl Proxy {
    /// Before the server of a URL that has a host and a port.
    pub(crate) fn before(url: &str) -> Self {
        let mut url: Url = url.parse().unwrap();
        let place = (url.host_str().unwrap(), url.port().unwrap());
        let target = place.to_socket_addrs().unwrap().next().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        url.set_ip_host(address.ip()).unwrap();
        url.set_port(Some(address.port())).unwrap();
        let shared = Arc::new(Shared {
            target,
            wire: watch::channel(Wire::Pass).0,
            cuts: watch::channel(0).0,
            answers_cut: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            numbers: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
        });
        runtime.spawn(Arc::clone(&shared).accept(listener));
        Self { url, shared, runtime: Some(runtime) }
    }

    /// The URL that it was made with, by way of this proxy.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) fn pass(&self) {
        self.shared.wire.send_replace(Wire::Pass);
    }

    /// Every chunk, there and back, takes so long.
    pub(crate) fn delay(&self, by: Duration) {
        self.delay_between(by..=by);
    }

    pub(crate) fn delay_between(&self, by: RangeInclusive<Duration>) {
        self.shared.wire.send_replace(Wire::Delay(by));
    }

    /// Connections are accepted and kept, and nothing gets through. What was held goes on after [`Proxy::pass`].
    pub(crate) fn hold(&self) {
        self.shared.wire.send_replace(Wire::Hold);
    }

    /// Closes all connections, and those to come.
    pub(crate) fn refuse(&self) {
        self.shared.wire.send_replace(Wire::Refuse);
    }

    /// Closes all connections that are there now. New ones do well.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// The next request gets through, and its answer does not: its connection is closed at the answer's first
    /// bytes. After this one answer the wire is good again.
    pub(crate) fn cut_next_answer(&self) {
        self.shared.wire.send_replace(Wire::CutAnswer);
    }

    /// How many answers were cut so far.
    pub(crate) fn answers_cut(&self) -> u64 {
        self.shared.answers_cut.load(Ordering::SeqCst)
    }

    /// How many connections were asked for so far.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Until so many answers were cut.
    pub(crate) async fn has_cut(&self, answers: u64) {
        soon("a cut answer", async || (self.answers_cut() >= answers).then_some(())).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    async fn accept(self: Arc<Self>, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let Ok((client, _)) = listener.accept().await else { continue };
            self.connections.fetch_add(1, Ordering::SeqCst);
            if *self.wire.borrow() != Wire::Refuse {
                tokio::spawn(Arc::clone(&self).connect(client));
            }
        }
    }

    /// Ends with the first of: a side that closed, a cut, a wire that refuses.
    async fn connect(self: Arc<Self>, client: TcpStream) {
        let (mut cuts, mut wire) = (self.cuts.subscribe(), self.wire.subscribe());
        // A held wire reaches no server.
        if wire.wait_for(|wire| *wire != Wire::Hold).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(self.target).await else { return };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let both = async {
            tokio::try_join!(
                self.pump(from_client, to_server, Direction::Request),
                self.pump(from_server, to_client, Direction::Answer),
            )
        };
        tokio::select! {
            _ = both => {}
            _ = cuts.changed() => {}
            _ = wire.wait_for(|wire| *wire == Wire::Refuse) => {}
        }
    }

    async fn pump(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        direction: Direction,
    ) -> Result<(), Cut> {
        let mut chunk = vec![0; 16 * 1024];
        while let Ok(read) = from.read(&mut chunk).await {
            if read == 0 {
                break;
            }
            self.carry(direction).await?;
            if to.write_all(&chunk[..read]).await.is_err() {
                return Err(Cut);
            }
        }
        // The other direction may still have something to bring.
        to.shutdown().await.ok();
        Ok(())
    }

    /// Returns when a chunk may go on.
    async fn carry(&self, direction: Direction) -> Result<(), Cut> {
        let mut wire = self.wire.subscribe();
        let now = wire.wait_for(|wire| *wire != Wire::Hold).await.map_err(|_| Cut)?.clone();
        match now {
            Wire::Delay(by) => tokio::time::sleep(self.any_of(&by)).await,
            Wire::CutAnswer if direction == Direction::Answer => {
                let first = |wire: &mut Wire| {
                    let first = *wire == Wire::CutAnswer;
                    if first {
                        *wire = Wire::Pass;
                    }
                    first
                };
                if self.wire.send_if_modified(first) {
                    self.answers_cut.fetch_add(1, Ordering::SeqCst);
                    return Err(Cut);
                }
            }
            Wire::Pass | Wire::CutAnswer | Wire::Hold | Wire::Refuse => {}
        }
        Ok(())
    }

    fn any_of(&self, by: &RangeInclusive<Duration>) -> Duration {
        let step = self.numbers.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (step ^ (step >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
        let span = by.end().saturating_sub(*by.start());
        *by.start() + span.mul_f64(f64::from(u32::try_from(mixed).unwrap()) / f64::from(u32::MAX))
    }
}

/// A connection is to be closed at once.
struct Cut;
