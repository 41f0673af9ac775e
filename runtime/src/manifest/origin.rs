//! Where a plugin may send HTTP requests: scheme, host and port, exactly.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use url::Url;

/// How an origin is written.
const EXAMPLE: &str = "write scheme, host and, if it is not the usual one, port: \"https://api.example.com\", \"http://127.0.0.1:8080\"";

/// Scheme, host and port of an HTTP server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `https`, not `http`.
    pub secure: bool,
    /// Its name or address.
    pub host: Server,
    /// 1 to 65,535; 443 for `https` and 80 for `http` where none was written.
    pub port: u16,
}

/// Who is talked to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Server {
    /// A name, in lower case.
    Name(String),
    /// An address. An IPv4 address in the form of an IPv6 address is none.
    Address(IpAddr),
}

impl Server {
    /// The host as a URL has it, with brackets around an IPv6 address. Other forms
    /// of an IPv4 address (`2130706433`, `0x7f.1`) are taken as names.
    pub fn of(host: &str) -> Server {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let address = match bare {
            Some(address) => address.parse::<Ipv6Addr>().map(IpAddr::V6),
            None => host.parse::<Ipv4Addr>().map(IpAddr::V4),
        };
        address.map_or_else(|_| Server::Name(host.to_ascii_lowercase()), Server::Address)
    }
}

impl Origin {
    /// Reads an origin as it is written in a manifest.
    ///
    /// # Errors
    /// What is wrong with it, and the remedy.
    pub fn parse(text: &str) -> Result<Origin, (String, String)> {
        let wrong = |what: &str| Err((what.to_owned(), EXAMPLE.to_owned()));
        if text.contains('*') {
            return Err((
                "it has a wildcard".to_owned(),
                "name every host that the plugin may reach".to_owned(),
            ));
        }
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(url::ParseError::RelativeUrlWithoutBase) => return wrong("it has no scheme"),
            Err(error) => return wrong(&format!("it is no URL: {error}")),
        };
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return wrong("its scheme is neither http nor https"),
        };
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
            return Err((
                "there is a user in it".to_owned(),
                "give the plugin the credentials by `env`, for a header: { from-env = \"TOKEN\" }"
                    .to_owned(),
            ));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return wrong("it goes on after the port: a grant is for a whole server");
        }
        let origin = Origin {
            secure,
            host: Server::of(url.host_str().unwrap_or_default()),
            port: port(&url),
        };
        match origin.mistake(text) {
            Some(mistake) => Err(mistake),
            None => Ok(origin),
        }
    }

    /// What is wrong with a host or a port that can be read.
    fn mistake(&self, text: &str) -> Option<(String, String)> {
        let written = text.split_once("://").map_or(text, |(_, rest)| rest);
        let end =
            written.rfind(':').filter(|at| !written.get(*at..).unwrap_or_default().contains(']'));
        let written = written.get(..end.unwrap_or(written.len())).unwrap_or_default();
        let written = written.trim_end_matches('/');
        let instead = format!("write \"{self}\", if that is meant");
        match &self.host {
            _ if self.port == 0 => Some(("its port is 0".to_owned(), EXAMPLE.to_owned())),
            Server::Address(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
                let v4 = address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
                let origin = Origin { host: Server::Address(v4.into()), ..self.clone() };
                let what = "it is an IPv4 address in the form of an IPv6 address";
                Some((what.to_owned(), format!("write \"{origin}\"")))
            }
            Server::Address(IpAddr::V4(address)) if written != address.to_string() => {
                Some((format!("{written} is another form of the address {address}"), instead))
            }
            Server::Name(name) if name.ends_with('.') => {
                Some(("its host ends with a dot".to_owned(), EXAMPLE.to_owned()))
            }
            Server::Name(name) if written.is_ascii() && !written.eq_ignore_ascii_case(name) => {
                Some((format!("its host reads as `{name}`"), instead))
            }
            _ => None,
        }
    }

    /// The port that is meant where none is written.
    fn usual_port(secure: bool) -> u16 {
        if secure { 443 } else { 80 }
    }

    /// The origin that a request goes to.
    pub fn of_request(secure: bool, host: &str, port: Option<u16>) -> Origin {
        Origin { secure, host: Server::of(host), port: port.unwrap_or(Origin::usual_port(secure)) }
    }
}

fn port(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or_default()
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Name(name) => f.write_str(name),
            Server::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Server::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        match self.port == Origin::usual_port(self.secure) {
            true => Ok(()),
            false => write!(f, ":{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match Origin::parse(text) {
            Ok(origin) => origin.to_string(),
            Err((what, _)) => format!("! {what}"),
        }
    }

    #[test]
    fn scheme_host_and_port_count_and_nothing_else() {
        let same = ["https://api.example.com", "https://API.example.com:443/"];
        for text in same {
            assert_eq!(shown(text), "https://api.example.com");
        }
        assert_eq!(shown("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(shown("http://[::1]:80"), "http://[::1]");
        assert_eq!(shown("http://[0:0:0:0:0:0:0:1]"), "http://[::1]");
        assert_eq!(shown("https://bücher.example"), "https://xn--bcher-kva.example");
        assert_ne!(Origin::parse("http://a"), Origin::parse("https://a"));
        assert_ne!(Origin::parse("http://a"), Origin::parse("http://a:81"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "a",
            "a:80",
            "ftp://a",
            "//a",
            "http://",
            "http://*",
            "http://*.a",
            "http://a/b",
            "http://a?b",
            "http://a#b",
            "http://u@a",
            "http://u:p@a",
            "http://a:0",
            "http://a:65536",
            "http://a.",
            "http://2130706433",
            "http://0",
            "http://127.1",
            "http://0x7f.0.0.1",
            "http://[::ffff:127.0.0.1]",
            "http://[::ffff:7f00:1]",
            "http://%61",
            "http://a b",
            "http://[fe80::1%25eth0]",
            "http:a",
            "http:/a",
            "http://@a",
        ] {
            assert!(shown(text).starts_with("! "), "{text}: {}", shown(text));
        }
    }

    #[test]
    fn a_request_is_read_without_guesses() {
        let of = |host: &str| Origin::of_request(false, host, None).to_string();
        assert_eq!(of("Example.COM"), "http://example.com");
        assert_eq!(of("127.0.0.1"), "http://127.0.0.1");
        for name in ["2130706433", "0", "127.1", "0x7f.0.0.1", "127.0.0.1.", "localhost."] {
            let Server::Name(_) = Origin::of_request(false, name, None).host else {
                panic!("{name} is taken as an address");
            };
        }
        let mapped = Origin::of_request(false, "[::ffff:127.0.0.1]", None);
        assert_ne!(mapped, Origin::of_request(false, "127.0.0.1", None));
    }
}
