//! Who the person behind an access token is (OpenID Connect Core §5.3).

use crate::domain::ids::{ClientId, SubjectId, TenantId};
use crate::domain::token::profile_claims;
use crate::service::{Service, Unavailable};
use serde_json::{Map, Value};

#[derive(Debug)]
pub struct UserInfo {
    pub sub: SubjectId,
    pub tenant: TenantId,
    pub claims: Map<String, Value>,
    /// Whose browser origins may read it.
    pub client: ClientId,
}

#[derive(Debug, thiserror::Error)]
pub enum NotInformed {
    #[error("the access token is not good")]
    InvalidToken,
    #[error("the access token has no scope openid")]
    InsufficientScope,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Service {
    pub async fn user_info(&self, access_token: &str) -> Result<UserInfo, NotInformed> {
        let inner = &self.0;
        let now = inner.clock.now();
        inner.revision().map_err(Unavailable::from)?;
        let claims = inner.verify_access_token(access_token).ok_or(NotInformed::InvalidToken)?;
        if !inner.is_active(&claims, now).await? {
            return Err(NotInformed::InvalidToken);
        }
        let scope = claims.scope.parse().map_err(|_| NotInformed::InvalidToken)?;
        if !crate::domain::scope::ScopeSet::contains(&scope, "openid") {
            return Err(NotInformed::InsufficientScope);
        }
        let at = inner.log_position(&claims.sid);
        let found = inner.tokens.find(&claims.sid, at, now).await.map_err(Unavailable::from)?;
        let (mut session, _) = found.ok_or(NotInformed::InvalidToken)?;
        inner.use_current_claims(&mut session).await?;
        Ok(UserInfo {
            sub: session.subject,
            tenant: session.tenant,
            claims: profile_claims(&session.claims, &scope),
            client: claims.client_id.clone(),
        })
    }
}
