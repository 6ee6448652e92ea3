//! A token for another (RFC 8693): an upstream ID token for a disposable token of its tenant, or one of
//! our access tokens for a narrower one. Both run along the one line of `issue`.

use crate::catalog::KnownProvider;
use crate::database;
use crate::domain::Time;
use crate::domain::authorization::{Wanted, check_audience};
use crate::domain::client::GrantType;
use crate::domain::grant::{Denied, Parent};
use crate::domain::ids::SessionId;
use crate::domain::permission::PermissionSet;
use crate::domain::provider::ProviderKind;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{Digest, Secret};
use crate::domain::session::{RegisteredSession, Session};
use crate::domain::subject::Subject;
use crate::domain::tenant::Status;
use crate::service::authenticate::AuthenticatedClient;
use crate::service::authorize::log_upstream;
use crate::service::code::NotRedeemed;
use crate::service::issue::{Claimant, Issued, Mint, NotIssued, seconds_until};
use crate::service::login::{SessionLifetimes, SessionSeed, audience_list};
use crate::service::{Inner, Service, Unavailable};
use crate::signing;
use crate::token_store::OneTime;
use crate::upstream::{UpstreamError, VerifiedSubjectToken};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use std::sync::Arc;

/// Generations of exchange after the first token.
const EXCHANGE_DEPTH: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectTokenType {
    IdToken,
    AccessToken,
}

#[derive(Debug)]
pub struct ExchangeRequest {
    pub subject_token: Secret<String>,
    pub subject_token_type: SubjectTokenType,
    pub wanted: Wanted,
}

#[derive(Debug, thiserror::Error)]
pub enum NotExchanged {
    #[error("the client may not exchange tokens")]
    GrantNotAllowed,
    /// RFC 8693 §2.2.2: one answer for everything that a subject token can be wrong in.
    #[error("the subject token is not good: {0}")]
    SubjectToken(&'static str),
    #[error("an audience that may not be asked for")]
    Audience,
    #[error(transparent)]
    NotIssued(#[from] NotIssued),
}

impl From<Unavailable> for NotExchanged {
    fn from(error: Unavailable) -> Self {
        Self::NotIssued(error.into())
    }
}

impl Service {
    pub async fn exchange(
        &self,
        client: &AuthenticatedClient,
        request: &ExchangeRequest,
    ) -> Result<Issued, NotExchanged> {
        let inner = &self.0;
        let known = client.known();
        if !known.client.may_use(GrantType::TokenExchange) || known.client.is_public() {
            return Err(NotExchanged::GrantNotAllowed);
        }
        let now = inner.clock.now();
        let revision = inner.revision().map_err(Unavailable::from)?;
        match request.subject_token_type {
            SubjectTokenType::IdToken => {
                inner.exchange_id_token(client, request, revision, now).await
            }
            SubjectTokenType::AccessToken => {
                inner.exchange_access_token(client, request, revision, now).await
            }
        }
    }
}

/// SECURITY: all that is read of an ID token before it is verified, and only to find out whose keys to
/// verify it with.
#[derive(Deserialize)]
struct UnverifiedIssuer {
    iss: String,
}

fn unverified_issuer(token: &str) -> Option<String> {
    let claims = token.split('.').nth(1)?;
    let json = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
    serde_json::from_slice::<UnverifiedIssuer>(&json).ok().map(|claims| claims.iss)
}

impl Inner {
    async fn exchange_id_token(
        &self,
        client: &AuthenticatedClient,
        request: &ExchangeRequest,
        revision: u64,
        now: Time,
    ) -> Result<Issued, NotExchanged> {
        let known = client.known();
        let token = request.subject_token.reveal();
        let issuer = unverified_issuer(token).ok_or(NotExchanged::SubjectToken("malformed"))?;
        let found = self.provider_of_issuer(client, &issuer).await?;
        let provider =
            found.ok_or(NotExchanged::SubjectToken("from nobody that the client may bring"))?;
        check_audience(&request.wanted.audience, &known.client)
            .map_err(|_| NotExchanged::Audience)?;
        let verified = self.verify_id_token(&provider, token, now).await?;
        let tenant = provider.provider.resolve_tenant(&verified.identity);
        let tenant = tenant.map_err(|_| NotExchanged::SubjectToken("of nobody's tenant"))?;
        let subject = Subject::from_identity(&verified.identity, &provider.provider.keep_claims);
        let subject = subject.map_err(|_| NotExchanged::SubjectToken("with claims too large"))?;
        let claimant = Claimant {
            subject: &subject,
            tenant: &tenant,
            parent: None,
            session_lives: known.client.lifetimes.access_token,
        };
        let decided = self.decide(known, claimant, &request.wanted.request(true)).await?;
        // Only now is it used up: a request that was refused changes nothing.
        self.refuse_replay(&issuer, &verified, now).await?;
        let lives = decided.grant.expires_in;
        let seed = SessionSeed {
            id: SessionId::new(signing::random().map_err(Unavailable::from)?),
            subject: subject.id,
            tenant,
            provider: subject.provider,
            claims: subject.claims,
            wanted: request.wanted.clone(),
            authenticated_at: verified.identity.authenticated_at,
            begun: revision,
        };
        // A session of one access token: nothing of it can be refreshed.
        let lifetimes = SessionLifetimes { idle: lives, absolute: lives };
        let audience = self.audience(&request.wanted.audience, known);
        let session = seed.into_session(&known.client.id, audience, None, &lifetimes, now);
        let mint = Mint {
            known,
            session: &session,
            grant: &decided.grant,
            audience: &session.audience,
            ancestors: &[],
            revision,
            now,
        };
        let token = self.mint(&mint).map_err(Unavailable::from)?;
        if let (true, Some(there)) =
            (provider.provider.backchannel_logout, verified.identity.session)
        {
            self.register(&session, there).await?;
        }
        self.track(&session, now).await.map_err(|error| match error {
            NotRedeemed::NotIssued(error) => NotExchanged::NotIssued(error),
            NotRedeemed::Invalid(_) | NotRedeemed::GrantNotAllowed => {
                NotExchanged::SubjectToken("revoked meanwhile")
            }
        })?;
        Ok(token)
    }

    /// The provider with that issuer, among those whose ID tokens the client may bring.
    async fn provider_of_issuer(
        &self,
        client: &AuthenticatedClient,
        issuer: &str,
    ) -> Result<Option<Arc<KnownProvider>>, Unavailable> {
        for id in &client.known().client.exchange.id_tokens_of {
            let Some(found) = self.catalog.provider(id).await? else { continue };
            let is_it = matches!(&found.provider.kind, ProviderKind::Oidc { issuer: own, .. } if own == issuer);
            if is_it && found.provider.status == Status::Active {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn verify_id_token(
        &self,
        provider: &KnownProvider,
        token: &str,
        now: Time,
    ) -> Result<VerifiedSubjectToken, NotExchanged> {
        let verified = self.upstream.verify_id_token(&provider.provider, token, now).await;
        verified.map_err(|error| {
            log_upstream(&provider.provider.id, &error);
            match error {
                UpstreamError::Refused(_) => NotExchanged::SubjectToken("refused"),
                other => Unavailable::from(other).into(),
            }
        })
    }

    /// A session at the provider ends all that came from it, where the provider tells.
    async fn register(&self, session: &Session, there: String) -> Result<(), NotExchanged> {
        let registered =
            RegisteredSession { upstream_session: Some(there), ..RegisteredSession::from(session) };
        let begin = self.database.write(move |c| database::sessions::begin(c, &registered));
        if begin.await.map_err(Unavailable::from)? {
            Ok(())
        } else {
            Err(NotExchanged::SubjectToken("of a session at the provider that is over"))
        }
    }

    /// An ID token with a `jti` is taken once.
    async fn refuse_replay(
        &self,
        issuer: &str,
        verified: &VerifiedSubjectToken,
        now: Time,
    ) -> Result<(), NotExchanged> {
        let Some(jti) = &verified.jti else { return Ok(()) };
        let key = Digest::of(format!("{issuer}\0{jti}"));
        // Longer than the token can be taken, clocks that differ included.
        let until = verified.expires_at + chrono::TimeDelta::minutes(5);
        let new = self.tokens.put(OneTime::Replay, &key, b"", until, now).await;
        if new.map_err(Unavailable::from)? {
            Ok(())
        } else {
            Err(NotExchanged::SubjectToken("presented before"))
        }
    }

    async fn exchange_access_token(
        &self,
        client: &AuthenticatedClient,
        request: &ExchangeRequest,
        revision: u64,
        now: Time,
    ) -> Result<Issued, NotExchanged> {
        let known = client.known();
        let token = self.verify_access_token(request.subject_token.reveal());
        let parent = token.ok_or(NotExchanged::SubjectToken("not ours"))?;
        let of_its_audience =
            || parent.aud.iter().any(|audience| known.client.introspects.contains(audience));
        let may = known.client.exchange.access_tokens
            && (parent.client_id == known.client.id || of_its_audience());
        if !may || !self.is_active(&parent, now).await? {
            return Err(NotExchanged::SubjectToken(
                "inactive, or not one that the client may bring",
            ));
        }
        if parent.ancestors.len() >= EXCHANGE_DEPTH {
            return Err(NotExchanged::SubjectToken("exchanged too often"));
        }
        let audience = if request.wanted.audience.is_empty() {
            audience_list(&parent.aud)
        } else if request.wanted.audience.iter().all(|wanted| parent.aud.contains(wanted)) {
            request.wanted.audience.clone()
        } else {
            return Err(NotExchanged::Audience);
        };
        let at = self.log_position(&parent.sid);
        let found = self.tokens.find(&parent.sid, at, now).await.map_err(Unavailable::from)?;
        let (mut session, _) =
            found.ok_or(NotExchanged::SubjectToken("of a session that is over"))?;
        self.use_current_claims(&mut session).await?;
        let unreadable = NotExchanged::SubjectToken("unreadable");
        let details = serde_json::from_str(parent.authorization_details.get());
        let vocabulary = self.catalog.vocabulary();
        let permissions = details
            .ok()
            .and_then(|details| PermissionSet::parse(&details, &vocabulary).ok())
            .ok_or(unreadable)?;
        let scope: ScopeSet =
            parent.scope.parse().map_err(|_| NotExchanged::SubjectToken("unreadable"))?;
        let (protocol_scope, scope) = scope.split_protocol();
        if !request.wanted.protocol_scope.is_subset(&protocol_scope) {
            return Err(NotIssued::from(Denied::ScopeTooWide).into());
        }
        let lives = u32::try_from(parent.exp.saturating_sub(now.timestamp()).max(0)).unwrap_or(0);
        let subject = session.subject();
        let claimant = Claimant {
            subject: &subject,
            tenant: &session.tenant.clone(),
            parent: Some(Parent { permissions: &permissions, scope: &scope, lives }),
            session_lives: seconds_until(session.ends_at, now),
        };
        let decided = self.decide(known, claimant, &request.wanted.request(true)).await?;
        // Whoever names scopes gets those and no others; `openid` is one of them.
        session.protocol_scope = match &request.wanted.scope {
            Some(_) => request.wanted.protocol_scope.clone(),
            None => protocol_scope,
        };
        let mut ancestors = parent.ancestors.clone();
        ancestors.push(parent.jti);
        let mint = Mint {
            known,
            session: &session,
            grant: &decided.grant,
            audience: &audience,
            ancestors: &ancestors,
            revision: revision.min(parent.rev),
            now,
        };
        Ok(self.mint(&mint).map_err(Unavailable::from)?)
    }
}
