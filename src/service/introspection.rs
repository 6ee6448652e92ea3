//! Whether a token is alive, and what it says (RFC 7662).

use crate::catalog::KnownClient;
use crate::domain::Time;
use crate::domain::ids::ClientId;
use crate::domain::role_mapping;
use crate::domain::session::{RefreshState, Session};
use crate::domain::token::{ACCESS_TOKEN_TYPE, AccessClaims, UnverifiedRefreshToken};
use crate::service::authenticate::AuthenticatedClient;
use crate::service::{Inner, Service, Unavailable};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// What a caller learns. Whatever is not active is not told apart.
#[derive(Debug)]
pub enum Introspection {
    Inactive,
    AccessToken(Arc<AccessClaims>),
    RefreshToken(Box<Session>),
}

#[derive(Debug, thiserror::Error)]
pub enum NotIntrospected {
    #[error("a public client may not introspect")]
    PublicClient,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Service {
    pub async fn introspect(
        &self,
        client: &AuthenticatedClient,
        token: &str,
    ) -> Result<Introspection, NotIntrospected> {
        let inner = &self.0;
        let known = client.known();
        if known.client.is_public() {
            return Err(NotIntrospected::PublicClient);
        }
        let now = inner.clock.now();
        inner.revision().map_err(Unavailable::from)?;
        if let Some(claims) = inner.verify_access_token(token) {
            let may = may_introspect(known, &claims);
            if !may || !inner.is_active(&claims, now).await? {
                return Ok(Introspection::Inactive);
            }
            return Ok(Introspection::AccessToken(claims));
        }
        match inner.find_refreshable(token, &known.client.id, now).await? {
            Some((session, state)) if state.1 == state.0.generation => {
                Ok(Introspection::RefreshToken(Box::new(session)))
            }
            _ => Ok(Introspection::Inactive),
        }
    }
}

/// A client may check the tokens of the audiences that it declares, and its own.
pub(super) fn may_introspect(known: &KnownClient, claims: &AccessClaims) -> bool {
    let declared = |audience: &str| known.client.introspects.contains(audience);
    claims.client_id == known.client.id || claims.aud.iter().any(declared)
}

impl Inner {
    /// The claims of an access token that is ours, whether or not it is alive. Signatures are checked
    /// once: verified tokens are remembered by their digest.
    pub(super) fn verify_access_token(&self, token: &str) -> Option<Arc<AccessClaims>> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.verified.get(&digest) {
            return Some(known);
        }
        let json = match self.keys.verify(ACCESS_TOKEN_TYPE, token) {
            Ok(json) => json,
            Err(_) => self.keys.open_opaque(token).ok()?,
        };
        let claims = AccessClaims::parse(&json).filter(|claims| claims.iss == self.issuer)?;
        let claims = Arc::new(claims);
        self.verified.insert(digest, Arc::clone(&claims));
        Some(claims)
    }

    /// Not expired, not revoked, and its session alive.
    pub(super) async fn is_active(
        &self,
        claims: &AccessClaims,
        now: Time,
    ) -> Result<bool, Unavailable> {
        if !claims.is_current(now) || self.catalog.revocations().ends_token(&claims.facts()) {
            return Ok(false);
        }
        let at = self.log_position(&claims.sid);
        // One that was exchanged, perhaps by another client, ends with what ends the first client's session.
        let by_itself = claims.ancestors.is_empty();
        if by_itself && !self.catalog.revocations().recalls_some_with(&claims.roles) {
            return Ok(self.tokens.is_alive(&claims.sid, at, now).await?);
        }
        let Some((session, _)) = self.tokens.find(&claims.sid, at, now).await? else {
            return Ok(false);
        };
        let ended = if by_itself {
            self.catalog.revocations().recalls_session(&session, &claims.roles)
        } else {
            self.is_over(&session).await?
        };
        Ok(!ended)
    }

    /// Whether the log ends the session, whatever the token store says of it.
    pub(super) async fn is_over(&self, session: &Session) -> Result<bool, Unavailable> {
        let (ended, recalls) = {
            let view = self.catalog.revocations();
            (view.ends_session(session), view.recalls_sessions())
        };
        if ended || !recalls {
            return Ok(ended);
        }
        // A recalled version ends the sessions of whoever has its role, by today's rules.
        let Some(known) = self.catalog.provider(&session.provider).await? else {
            return Ok(true);
        };
        let mut session = session.clone();
        self.use_current_claims(&mut session).await?;
        let mapped = role_mapping::map(&known.rules, &session.claims, &session.tenant);
        Ok(self.catalog.revocations().recalls_session(&session, &mapped.roles))
    }

    /// The live session of this client's refresh token, with the state and the presented generation.
    pub(super) async fn find_refreshable(
        &self,
        token: &str,
        client: &ClientId,
        now: Time,
    ) -> Result<Option<(Session, (RefreshState, u32))>, Unavailable> {
        let Some(token) = UnverifiedRefreshToken::parse(token) else { return Ok(None) };
        let Ok(claims) = self.keys.verify_refresh_token(&token, client) else { return Ok(None) };
        let at = self.log_position(&claims.session);
        let Some((session, state)) = self.tokens.find(&claims.session, at, now).await? else {
            return Ok(None);
        };
        let ended = self.is_over(&session).await?;
        Ok((!ended).then_some((session, (state, claims.generation))))
    }
}
