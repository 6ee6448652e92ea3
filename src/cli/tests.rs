use super::*;
use clap::CommandFactory as _;

fn usage_error(line: &str) -> String {
    CommandLine::try_parse_from(line.split(' ')).unwrap_err().to_string()
}

#[test]
fn the_command_line_is_sound() {
    CommandLine::command().debug_assert();
    for line in [
        "rolemint serve --config rolemint.toml",
        "rolemint serve",
        "rolemint dev --port 0 --provider-port 9 --ephemeral",
        "rolemint migrate --config c.toml",
        "rolemint apply d.toml --config c.toml --prune tenant:acme --prune client:web --yes",
        "rolemint apply d.toml --dry-run",
        "rolemint check --config c.toml --deployment d.toml",
        "rolemint key generate",
        "rolemint healthcheck --url http://127.0.0.1:1/healthz",
        "rolemint revoke subject u_dana --tenant acme --reason left --by ops --config c.toml",
        "rolemint revoke before 2026-01-31T12:00:00Z --reason leak",
        "rolemint session show AAAAAAAAAAAAAAAAAAAAAA --config c.toml",
    ] {
        assert!(CommandLine::try_parse_from(line.split(' ')).is_ok(), "{line}");
    }
}

#[test]
fn a_slip_is_a_usage_error() {
    assert!(usage_error("rolemint apply").contains("<FILE>"));
    assert!(usage_error("rolemint apply d.toml --prune acme").contains("write KIND:ID"));
    assert!(
        usage_error("rolemint apply d.toml --prune tenant:Acme").contains("is not a tenant id")
    );
    assert!(usage_error("rolemint dev --ephemeral --data-dir x").contains("cannot be used with"));
    assert!(usage_error("rolemint serv").contains("serve"));
}

#[test]
fn an_error_is_printed_with_what_led_to_it() {
    let error =
        anyhow::anyhow!("connection refused").context("cannot reach Redis").context("cannot start");
    assert_eq!(
        Report(&error).to_string(),
        "error: cannot start\n  because: cannot reach Redis\n  because: connection refused"
    );
}
