//! What can be said of an address to listen on before the system is asked.

use std::net::Ipv6Addr;

use super::value::quoted;

/// Refuses a URL that cannot be listened on, with the way out; whether the address is free shows when it is bound.
pub(super) fn check(url: &str) -> Result<(), String> {
    let shown = quoted(url);
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(match split_port(url) {
            Ok((host, Some(port))) if !host.is_empty() => {
                format!("{shown} has no scheme: write `http://{host}:{port}`")
            }
            _ => format!("{shown} is not a URL: write one like `http://127.0.0.1:8080`"),
        });
    };
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(format!("{shown} has the scheme {}: only http can be listened on", quoted(scheme)));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if let Some(extra) =
        authority.chars().find(|c| matches!(c, '/' | '?' | '#' | '@') || c.is_whitespace() || c.is_control())
    {
        return Err(format!("{shown} has a {extra:?} after the scheme: an address is a host and a port only"));
    }
    match split_port(authority) {
        Ok(("", _)) => Err(format!("{shown} has no host: write 127.0.0.1 for this machine, 0.0.0.0 for every network")),
        Ok(_) => Ok(()),
        Err(why) => Err(format!("{shown}: {why}")),
    }
}

/// Host and port; the host of `[v6]:port` without its brackets stays bracketed.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (address, after) = inner.split_once(']').ok_or("the bracket is not closed")?;
            let bare = address.split_once('%').map_or(address, |(bare, _scope)| bare);
            bare.parse::<Ipv6Addr>().map_err(|_| format!("{} is not an IPv6 address", quoted(address)))?;
            let host = &authority[..address.len() + 2];
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(format!("{} follows the bracket", quoted(after))),
            }
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands in brackets: `[::1]:8080`".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let Some(digits) = port else { return Ok((host, None)) };
    // str::parse would take a sign.
    let number = if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None };
    match number {
        Some(port) => Ok((host, Some(port))),
        None => Err(format!("{} is not a port: write a number from 0 (any free one) to 65535", quoted(digits))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        let table: &[(&str, Result<(), &str>)] = &[
            ("http://127.0.0.1:8080", Ok(())),
            ("HTTP://localhost:0/", Ok(())),
            ("http://0.0.0.0", Ok(())),
            ("http://[::1]:8080", Ok(())),
            ("http://[fe80::1%eth0]:80", Ok(())),
            ("127.0.0.1:8080", Err("write `http://127.0.0.1:8080`")),
            ("8080", Err("is not a URL")),
            ("https://localhost:8443", Err("only http")),
            ("http://", Err("no host")),
            ("http://:8080", Err("no host")),
            ("http://::1:8080", Err("in brackets")),
            ("http://[::1", Err("not closed")),
            ("http://[zz]:80", Err("not an IPv6 address")),
            ("http://[::1]80", Err("follows the bracket")),
            ("http://localhost:", Err("not a port")),
            ("http://localhost:+80", Err("not a port")),
            ("http://localhost:65536", Err("not a port")),
            ("http://localhost:80/app", Err("has a '/'")),
            ("http://user@localhost:80", Err("has a '@'")),
            ("http://local host:80", Err("has a ' '")),
            ("http://localhost\n:80", Err("has a '\\n'")),
        ];
        for (url, expected) in table {
            match (check(url), expected) {
                (Ok(()), Ok(())) => {}
                (Err(why), Err(part)) => assert!(why.contains(part), "{url}: {why}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        }
    }
}
