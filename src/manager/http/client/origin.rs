//! Where a client's requests go: the lines that all of them have in common.

use std::net::IpAddr;

use crate::error::{Error, Kind, Result};
use crate::manager::net::speaks;
use crate::net::{Host, Scheme, Url};
use crate::options::{ConnectOptions, Proxy};
use crate::proto::http::basic_auth;

/// A server, and the way to it.
pub(crate) struct Origin {
    url: Url,
    /// The Host line.
    host: Box<str>,
    /// The Authorization line, or nothing.
    pub(super) authorization: Box<str>,
    way: Way,
}

/// What stands between us and the server.
enum Way {
    Direct,
    /// A proxy that is told whole URLs: what precedes the target, and the line of its credentials.
    Forward {
        base: Box<str>,
        authorization: Box<str>,
    },
    /// A proxy that is asked for a tunnel: the request.
    Tunnel(Box<str>),
}

impl Origin {
    /// The origin of a URL, and what to dial for it: the server, or a proxy.
    pub(crate) fn new(url: &Url, options: &ConnectOptions) -> Result<(Self, Url)> {
        let authorization = authorization("Authorization", url)?;
        Self::with_authorization(url, authorization, options)
    }

    /// As [`new`](Self::new), with credentials other than those in the URL.
    pub(super) fn with_authorization(
        url: &Url,
        authorization: Box<str>,
        options: &ConnectOptions,
    ) -> Result<(Self, Url)> {
        let named = host_of(url);
        let host = match url.scheme().default_port() {
            // RFC 9110 §7.2
            Some(port) if port != url.port() && url.unix_path().is_none() => {
                format!("Host: {named}:{}\r\n", url.port())
            }
            _ => format!("Host: {named}\r\n"),
        };
        let (way, dial) = match &options.proxy {
            None => (Way::Direct, url.clone()),
            Some(_) if url.unix_path().is_some() => {
                return Err(Error::new(Kind::BadUrl, format!("cannot reach {url} through a proxy")));
            }
            Some(proxy) => {
                let text = match proxy {
                    Proxy::Forward(text) | Proxy::Tunnel(text) => text.as_str(),
                };
                let dial = Url::parse(text)?;
                speaks(dial.scheme())?;
                if dial.scheme() != Scheme::Http {
                    return Err(Error::new(
                        Kind::BadUrl,
                        format!("cannot use {dial} as a proxy: it is no http:// URL"),
                    ));
                }
                let credentials = self::authorization("Proxy-Authorization", &dial)?;
                let way = match proxy {
                    Proxy::Forward(_) => Way::Forward {
                        base: format!("http://{}", host["Host: ".len()..].trim_end()).into(),
                        authorization: credentials,
                    },
                    // RFC 9110 §9.3.6: the port is never left out.
                    Proxy::Tunnel(_) => {
                        let to = format!("{named}:{}", url.port());
                        Way::Tunnel(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{credentials}\r\n").into())
                    }
                };
                (way, dial)
            }
        };
        Ok((Self { url: url.clone(), host: host.into(), authorization, way }, dial))
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn host_line(&self) -> &str {
        &self.host
    }

    /// What a request to a proxy has more: the beginning of its target, and a line.
    pub(super) fn forwarded(&self) -> (&str, &str) {
        match &self.way {
            Way::Forward { base, authorization } => (base, authorization),
            Way::Direct | Way::Tunnel(_) => ("", ""),
        }
    }

    /// The request for a tunnel, where there is to be one.
    pub(crate) fn tunnel(&self) -> Option<&str> {
        match &self.way {
            Way::Tunnel(request) => Some(request),
            Way::Direct | Way::Forward { .. } => None,
        }
    }

    /// Whether a URL has this origin (RFC 6454 §5).
    pub(super) fn is_of(&self, url: &Url) -> bool {
        (self.url.scheme(), self.url.host(), self.url.port()) == (url.scheme(), url.host(), url.port())
    }
}

/// The line with the credentials of a URL; nothing where it has none.
pub(super) fn authorization(name: &str, url: &Url) -> Result<Box<str>> {
    if url.user().is_none() && url.password().is_none() {
        return Ok("".into());
    }
    match basic_auth(url.user().unwrap_or_default(), url.password().unwrap_or_default()) {
        Some(value) => Ok(format!("{name}: {value}\r\n").into()),
        None => Err(Error::new(Kind::BadUrl, format!("cannot log in to {url}: a user has no colon (RFC 7617 §2)"))),
    }
}

/// The host as it stands in an authority. The interface of a link-local address means nothing to the server.
pub(super) fn host_of(url: &Url) -> String {
    match url.host() {
        Host::Name(name) => name.to_string(),
        Host::Ip { ip: IpAddr::V4(ip), .. } => ip.to_string(),
        Host::Ip { ip: IpAddr::V6(ip), .. } => format!("[{ip}]"),
        Host::Any | Host::Unix(_) => "localhost".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str, options: ConnectOptions) -> (Origin, Url) {
        Origin::new(&Url::parse(url).unwrap(), &options).unwrap_or_else(|e| panic!("{url}: {e}"))
    }

    #[test]
    fn rfc_9110_7_2_host_is_the_authority_without_a_default_port_and_without_credentials() {
        let table = [
            ("http://Example.org/x", "Host: example.org\r\n", ""),
            ("http://example.org:80", "Host: example.org\r\n", ""),
            ("http://example.org:8080", "Host: example.org:8080\r\n", ""),
            ("http://127.0.0.1:81", "Host: 127.0.0.1:81\r\n", ""),
            ("http://[::1]", "Host: [::1]\r\n", ""),
            ("http://[2001:db8::1]:81", "Host: [2001:db8::1]:81\r\n", ""),
            ("http://[fe80::1%3]:81", "Host: [fe80::1]:81\r\n", ""),
            ("http+unix:/run/x.sock", "Host: localhost\r\n", ""),
            ("http://Aladdin:open%20sesame@h", "Host: h\r\n", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"),
            ("http://user@h", "Host: h\r\n", "Authorization: Basic dXNlcjo=\r\n"),
        ];
        for (url, host, authorization) in table {
            let (origin, dial) = origin(url, ConnectOptions::new(url));
            assert_eq!((origin.host_line(), &*origin.authorization), (host, authorization), "{url}");
            assert_eq!(dial, Url::parse(url).unwrap());
        }
        let url = Url::parse("http://a%3Ab:c@h").unwrap();
        let refused = Origin::new(&url, &ConnectOptions::new("")).err().unwrap();
        assert!(refused.is_bad_url() && !refused.to_string().contains(":c@"), "{refused}");
    }

    #[test]
    fn a_proxy_is_dialled_instead_and_told_where_to() {
        let url = "http://[::1]:81/x";
        let options = ConnectOptions::new(url).proxy("http://u:p@proxy:3128");
        let (forward, dial) = origin(url, options);
        assert_eq!(forward.forwarded(), ("http://[::1]:81", "Proxy-Authorization: Basic dTpw\r\n"));
        assert_eq!((dial.to_string().as_str(), forward.tunnel()), ("http://u:***@proxy:3128/", None));
        let (tunnel, _) = origin("http://h", ConnectOptions::new("").tunnel("http://proxy"));
        assert_eq!(tunnel.tunnel(), Some("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n"));
        let parsed = Url::parse(url).unwrap();
        for (proxy, word) in [("https://proxy", "TLS"), ("tcp://proxy:1", "no http"), ("proxy", "scheme")] {
            let refused = Origin::new(&parsed, &ConnectOptions::new(url).proxy(proxy)).err().unwrap().to_string();
            assert!(refused.contains(word), "{proxy}: {refused}");
        }
    }
}
