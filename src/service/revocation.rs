//! A client ends what it holds (RFC 7009).

use crate::database::{self, DbConnection};
use crate::domain::Time;
use crate::domain::audit::{AuditEvent, EndReason, EndedSession, EventKind};
use crate::domain::ids::{ClientId, SessionId};
use crate::domain::revocation::{NewRevocation, RevocationTarget};
use crate::domain::session::RegisteredSession;
use crate::domain::token::{AccessClaims, UnverifiedRefreshToken};
use crate::service::authenticate::AuthenticatedClient;
use crate::service::refresh::{ended, event};
use crate::service::{Inner, Service, Unavailable};
use chrono::TimeDelta;
use serde_json::json;
use std::net::IpAddr;

#[derive(Debug, thiserror::Error)]
pub enum NotRevoked {
    #[error("the token was issued to another client")]
    AnotherClients,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Service {
    /// Ok also where there was nothing to end (RFC 7009 §2.2). A refresh token ends its session and all
    /// tokens of it; an access token ends itself and what was exchanged from it.
    pub async fn revoke_token(
        &self,
        client: &AuthenticatedClient,
        token: &str,
        address: Option<IpAddr>,
    ) -> Result<(), NotRevoked> {
        let inner = &self.0;
        let now = inner.clock.now();
        if let Some(claims) = inner.verify_access_token(token) {
            return inner.revoke_access_token(client, &claims, address, now).await;
        }
        if UnverifiedRefreshToken::parse(token).is_some() {
            return inner.revoke_refresh_token(client, token, address, now).await;
        }
        Ok(())
    }
}

/// How far the clocks of nodes may differ.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(60);

impl Inner {
    async fn revoke_access_token(
        &self,
        client: &AuthenticatedClient,
        claims: &AccessClaims,
        address: Option<IpAddr>,
        now: Time,
    ) -> Result<(), NotRevoked> {
        if claims.client_id != client.known().client.id {
            return Err(NotRevoked::AnotherClients);
        }
        // Elsewhere it may be earlier.
        if !claims.is_current(now - CLOCKS_APART)
            || self.catalog.revocations().ends_token(&claims.facts())
        {
            return Ok(());
        }
        let revocation = NewRevocation {
            target: RevocationTarget::Token(claims.jti),
            tenant: Some(claims.tenant.clone()),
            // What is exchanged from it has no other audience.
            audience: claims.aud.iter().map(str::to_owned).collect(),
            expires_at: Time::from_timestamp(claims.exp, 0).unwrap_or(now),
            by: None,
            reason: EndReason::RevokedByClient.to_string(),
        };
        let event = AuditEvent {
            kind: EventKind::TokenRevoked,
            at: now,
            tenant: Some(claims.tenant.clone()),
            subject: Some(claims.sub.clone()),
            client: Some(claims.client_id.clone()),
            session: Some(claims.sid),
            detail: json!({ "jti": claims.jti, "address": address }),
        };
        Ok(self.revoke(revocation, event).await?)
    }

    /// The token is ours, and its session is over, or the token store has lost it or is away. If the store comes
    /// back with it, it must stay ended all the same.
    async fn end_registered(
        &self,
        session: RegisteredSession,
        address: Option<IpAddr>,
        now: Time,
    ) -> Result<(), Unavailable> {
        let detail = json!({ "address": address, "session": "not in the token store" });
        let event = AuditEvent::of(&session, EventKind::SessionEnded, detail, now);
        let ended = EndedSession::of(session, EndReason::RevokedByClient, address, now);
        self.end_session(ended, Vec::new(), event).await
    }

    /// As above, of a session that is in no register.
    async fn end_unknown(
        &self,
        session: SessionId,
        client: &ClientId,
        now: Time,
    ) -> Result<(), Unavailable> {
        let revocation = NewRevocation {
            target: RevocationTarget::Session(session),
            tenant: None,
            audience: Vec::new(),
            expires_at: RevocationTarget::Session(session).outlived_at(now),
            by: None,
            reason: EndReason::RevokedByClient.to_string(),
        };
        let event = AuditEvent {
            kind: EventKind::SessionEnded,
            at: now,
            tenant: None,
            subject: None,
            client: Some(client.clone()),
            session: Some(session),
            detail: json!({ "session": "not in the token store" }),
        };
        self.revoke(revocation, event).await
    }

    async fn revoke_refresh_token(
        &self,
        client: &AuthenticatedClient,
        token: &str,
        address: Option<IpAddr>,
        now: Time,
    ) -> Result<(), NotRevoked> {
        let Some(unverified) = UnverifiedRefreshToken::parse(token) else { return Ok(()) };
        let own = &client.known().client.id;
        let at = self.log_position(&unverified.claims.session);
        let id = unverified.claims.session;
        let ours = self.keys.verify_refresh_token(&unverified, own).is_ok();
        let found = match self.tokens.find(&id, at, now).await {
            Ok(found) => found,
            // Whose it is the token itself proves, and the log ends what it is of.
            Err(error) if ours => {
                tracing::warn!(%error, session = %id, "a session is revoked that cannot be looked at");
                None
            }
            Err(error) => return Err(Unavailable::from(error).into()),
        };
        let Some((session, _)) = found else {
            if !ours || self.catalog.revocations().knows_end_of(&id) {
                return Ok(());
            }
            let find = move |c: &mut DbConnection| {
                let is_ended = database::sessions::find_end(c, &id)?.is_some();
                Ok((database::sessions::find(c, &id)?, is_ended))
            };
            match self.database.read(find).await.map_err(Unavailable::from)? {
                // Memory has forgotten what the log and the store's markers still see to.
                (_, true) => {}
                // By nobody's clock it can live.
                (Some(session), _) if session.ends_at <= now - CLOCKS_APART => {}
                (Some(session), _) => self.end_registered(session, address, now).await?,
                (None, _) => self.end_unknown(id, own, now).await?,
            }
            return Ok(());
        };
        // SECURITY: told only to whoever really holds the other client's token.
        if !ours && self.keys.verify_refresh_token(&unverified, &session.client).is_err() {
            return Ok(());
        }
        if session.client != *own {
            return Err(NotRevoked::AnotherClients);
        }
        let detail = json!({ "address": address });
        let event = event(&session, EventKind::SessionEnded, detail, now);
        let ended = ended(&session, EndReason::RevokedByClient, address, now);
        Ok(self.end_session(ended, session.audience, event).await?)
    }
}
