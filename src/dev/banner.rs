//! What `rolemint dev` prints when it is ready: where to look, and lines to paste into a shell.

use crate::dev::demo::BACKEND_ID;
use crate::dev::demo::BACKEND_SECRET;
use crate::signing::KeyError;
use crate::signing::random_text;
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

/// Where things are, and a sign-in by `curl` alone.
pub(crate) fn text(port: u16, provider_port: u16) -> Result<String, KeyError> {
    let server = format!("http://127.0.0.1:{port}");
    let provider = format!("http://127.0.0.1:{provider_port}");
    let redirect_uri = format!("{server}/demo/callback");
    let verifier = random_text("")?;
    let verifier = verifier.reveal();
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", "demo-web")
        .append_pair("redirect_uri", &redirect_uri)
        .append_pair("scope", "openid profile email")
        .append_pair("state", "curl")
        .append_pair("code_challenge", &BASE64URL_NOPAD.encode(&Sha256::digest(verifier)))
        .append_pair("code_challenge_method", "S256")
        .finish();
    Ok(format!(
        r#"
  Rolemint is ready, on this machine only.

    Sample web app     {server}/demo
    OpenID provider    {provider}   (the demo's own, a separate issuer)
    Metadata           {server}/.well-known/openid-configuration

  People: dana@acme.example, ada@acme.example, gil@globex.example, nora@acme.example,
  root@platform.example. Nobody has a password.

  The same by curl: sign in as dana, get a token, check it.

    JAR=$(mktemp)
    next() {{ curl -s -o /dev/null -w '%{{redirect_url}}' -c "$JAR" -b "$JAR" "$@"; }}
    LOGIN=$(next '{server}/oauth2/authorize?{query}')
    BACK=$(next -d username=dana@acme.example "$LOGIN")
    CODE=$(next "$BACK" | sed 's/.*[?&]code=\([^&]*\).*/\1/')
    TOKEN=$(curl -s -d grant_type=authorization_code -d client_id=demo-web -d "code=$CODE" \
      -d code_verifier={verifier} \
      -d redirect_uri={redirect_uri} \
      {server}/oauth2/token | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')
    curl -s -u {BACKEND_ID}:{BACKEND_SECRET} -d "token=$TOKEN" {server}/oauth2/introspect

  Ctrl-C ends it.

"#
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_names_the_ports_of_this_run_and_another_verifier_each_time() {
        let text = |port, provider_port| super::text(port, provider_port).unwrap();
        let printed = text(1234, 4321);
        assert!(printed.contains("http://127.0.0.1:1234/demo\n"), "{printed}");
        assert!(printed.contains("http://127.0.0.1:4321 "), "{printed}");
        assert!(!printed.contains("8080") && !printed.contains("{{"), "{printed}");
        assert_ne!(printed, text(1234, 4321));
    }
}
