//! What one server writes into the revocation log, the others hear of at once: positions of the log, published and
//! heard over connections of their own. Nothing depends on it: whoever hears nothing reads the log now and then.

use crate::token_store::redis::address::RedisAddress;
use crate::token_store::redis::connection::{News, NoConnection};
use crate::token_store::redis::link::Link;
use ::redis::aio::MultiplexedConnection;
use ::redis::{FromRedisValue as _, PushInfo, PushKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const CHANNEL: &str = "rolemint:revocations";
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is asked whether the other side is still there.
const PING_EVERY: Duration = Duration::from_secs(2);
const WAIT: Duration = Duration::from_millis(500);

/// Publishes the newest position whenever there is a newer one, until the store is closed.
pub(super) async fn publish(link: Link, mut positions: watch::Receiver<u64>) {
    while positions.changed().await.is_ok() {
        let position = *positions.borrow_and_update();
        let published = timeout(PATIENCE, async {
            let mut connection = link.connection().await.ok()?;
            let mut publish = ::redis::cmd("PUBLISH");
            publish.arg(CHANNEL).arg(position).exec_async(&mut connection).await.ok()
        });
        if !matches!(published.await, Ok(Some(()))) {
            tracing::debug!(position, "a position of the revocation log was not announced");
        }
    }
}

/// Notes the highest position that is heard, until nobody listens. Every time that it begins to listen is a change
/// too: something may have been said before.
pub(super) async fn hear(address: Arc<RedisAddress>, heard: watch::Sender<u64>) {
    loop {
        let listening = async {
            let (connection, news) = timeout(PATIENCE, subscribe(&address)).await.ok()?.ok()?;
            heard.send_modify(|_| {});
            listen(connection, news, &heard).await;
            Some(())
        };
        tokio::select! {
            () = heard.closed() => return,
            _ = listening => {}
        }
        tokio::select! {
            () = heard.closed() => return,
            () = sleep(WAIT) => {}
        }
    }
}

async fn subscribe(address: &RedisAddress) -> Result<(MultiplexedConnection, News), NoConnection> {
    let (mut connection, news) = address.connect_to_hear().await?;
    connection.subscribe(CHANNEL).await?;
    Ok((connection, news))
}

/// Until the connection is lost, or silent.
async fn listen(mut connection: MultiplexedConnection, mut news: News, heard: &watch::Sender<u64>) {
    loop {
        tokio::select! {
            push = news.recv() => match push {
                Some(push) if push.kind == PushKind::Disconnection => return,
                Some(push) => note(push, heard),
                None => return,
            },
            () = sleep(PING_EVERY) => {
                let ping = ::redis::cmd("PING");
                let answer = timeout(PATIENCE, ping.exec_async(&mut connection)).await;
                if !matches!(answer, Ok(Ok(()))) {
                    return;
                }
            }
        }
    }
}

fn note(push: PushInfo, heard: &watch::Sender<u64>) {
    if push.kind != PushKind::Message {
        return;
    }
    let position = push.data.into_iter().nth(1).map(u64::from_redis_value);
    if let Some(Ok(position)) = position {
        heard.send_if_modified(|highest| {
            let news = position > *highest;
            *highest = position.max(*highest);
            news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::redis::Value;

    fn message(position: &str) -> PushInfo {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        PushInfo { kind: PushKind::Message, data: vec![text(CHANNEL), text(position)] }
    }

    #[test]
    fn the_highest_position_counts_and_what_is_none_is_nothing() {
        let (sender, mut heard) = watch::channel(0);
        for (position, news, highest) in [
            ("7", true, 7),
            ("5", false, 7),
            ("7", false, 7),
            ("x", false, 7),
            ("-1", false, 7),
            ("9", true, 9),
        ] {
            note(message(position), &sender);
            assert_eq!(heard.has_changed().unwrap(), news, "{position}");
            assert_eq!(*heard.borrow_and_update(), highest);
        }
        note(PushInfo { kind: PushKind::Subscribe, ..message("20") }, &sender);
        note(PushInfo { kind: PushKind::Message, data: vec![] }, &sender);
        assert!(!heard.has_changed().unwrap());
    }
}
