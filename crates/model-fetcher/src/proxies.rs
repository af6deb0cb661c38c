//! The proxies of the environment, checked before the first request, so that a mistyped one is not ignored in silence.
//!
//! A variable counts in capitals and, unless it is set so, in small letters. `ALL_PROXY` replaces one that is unset.

use std::fmt;
use std::net::IpAddr;

use common::env::{Environment, Variable};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, NoProxy, Proxy};
use url::Url;

const HTTPS_PROXY: Variable = Variable::of_library(
    "HTTPS_PROXY",
    "The proxy for https addresses, as `http://host:port`. Write `@`, `:`, `/`, `?`, `#` and `%` of a password as `%40`, \
     `%3A`, `%2F`, `%3F`, `%23` and `%25`. `https_proxy` does the same.",
);
const HTTP_PROXY: Variable = Variable::of_library(
    "HTTP_PROXY",
    "The proxy for http addresses. `http_proxy` does the same.",
);
const ALL_PROXY: Variable = Variable::of_library(
    "ALL_PROXY",
    "The proxy where neither of the two above is set. `all_proxy` does the same.",
);
const NO_PROXY: Variable = Variable::of_library(
    "NO_PROXY",
    "What is reached without a proxy, divided by commas: names, which include the names below them, addresses, networks \
     such as `10.0.0.0/8`, or `*` for everything. `no_proxy` does the same.",
);
const SMALL_HTTPS_PROXY: Variable = Variable::of_library("https_proxy", "");
const SMALL_HTTP_PROXY: Variable = Variable::of_library("http_proxy", "");
const SMALL_ALL_PROXY: Variable = Variable::of_library("all_proxy", "");
const SMALL_NO_PROXY: Variable = Variable::of_library("no_proxy", "");

/// The variables as docs/configuration.md lists them.
pub const VARIABLES: &[Variable] = &[HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY];

/// The same in small letters.
pub const SMALL_VARIABLES: &[Variable] = &[
    SMALL_HTTPS_PROXY,
    SMALL_HTTP_PROXY,
    SMALL_ALL_PROXY,
    SMALL_NO_PROXY,
];

/// Which proxy is used for what.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    /// What is reached without one, in the form that reqwest reads.
    none_for: String,
}

impl Proxies {
    /// Reads the settings; what is wrong is noted in `env`.
    pub fn read(env: &mut Environment) -> Self {
        let http = read(env, &HTTP_PROXY, &SMALL_HTTP_PROXY, proxy);
        let https = read(env, &HTTPS_PROXY, &SMALL_HTTPS_PROXY, proxy);
        let all = read(env, &ALL_PROXY, &SMALL_ALL_PROXY, proxy);
        match read(env, &NO_PROXY, &SMALL_NO_PROXY, exceptions) {
            Some(Exceptions::All) => Self::default(),
            Some(Exceptions::These(none_for)) => Self {
                http: http.or_else(|| all.clone()),
                https: https.or(all),
                none_for,
            },
            None => Self {
                http: http.or_else(|| all.clone()),
                https: https.or(all),
                none_for: String::new(),
            },
        }
    }

    /// A client that uses these proxies and no others.
    pub(crate) fn apply(&self, client: ClientBuilder) -> reqwest::Result<ClientBuilder> {
        let mut client = client.no_proxy();
        if let Some(proxy) = &self.http {
            client = client.proxy(Proxy::http(proxy.as_str())?.no_proxy(self.no_proxy()));
        }
        if let Some(proxy) = &self.https {
            client = client.proxy(Proxy::https(proxy.as_str())?.no_proxy(self.no_proxy()));
        }
        Ok(client)
    }

    /// The host that is looked up to reach `url`: that of a proxy, where one is used.
    pub(crate) fn host_for(&self, url: &Url) -> String {
        let matcher = Matcher::builder()
            .http(address(self.http.as_ref()))
            .https(address(self.https.as_ref()))
            .no(&self.none_for)
            .build();
        let proxy = url
            .as_str()
            .parse()
            .ok()
            .and_then(|uri| matcher.intercept(&uri));
        let proxy = proxy.and_then(|proxy| proxy.uri().host().map(str::to_owned));
        proxy.unwrap_or_else(|| url.host_str().unwrap_or_default().to_owned())
    }

    fn no_proxy(&self) -> Option<NoProxy> {
        NoProxy::from_string(&self.none_for)
    }
}

/// Without the addresses, which may hold passwords.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .finish_non_exhaustive()
    }
}

enum Exceptions {
    All,
    These(String),
}

/// The value of `variable` or, when that is unset, of `small`.
fn read<T>(
    env: &mut Environment,
    variable: &Variable,
    small: &Variable,
    parse: fn(&str) -> Result<T, String>,
) -> Option<T> {
    let counts = match env.optional(variable) {
        Some(_) => variable,
        None => small,
    };
    env.read_with(counts, |text| match text {
        "" => Ok(None),
        text => parse(text).map(Some),
    })
}

fn proxy(text: &str) -> Result<Url, String> {
    let problem = "it must be http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, without quotes, spaces, a path, `?` or `#`; \
                   in a password write such signs as %40 for @, %2F for /, %3F for ? and %23 for #";
    let has_scheme = text.contains("://");
    let url = if has_scheme {
        Url::parse(text)
    } else {
        Url::parse(&format!("http://{text}"))
    };
    let url = url.map_err(|_| problem.to_owned())?;
    if url.scheme().starts_with("socks") {
        return Err(
            "only proxies at http:// and https:// addresses are supported, not SOCKS".to_owned(),
        );
    }
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    // A word alone is more likely a mistake than a host.
    let is_address =
        url.has_host() && url.port() != Some(0) && (has_scheme || url.port().is_some());
    if matches!(url.scheme(), "http" | "https") && is_plain && is_address && !text.contains(is_odd)
    {
        Ok(url)
    } else {
        Err(problem.to_owned())
    }
}

/// Whether `c` has no place in an address that was written by hand.
fn is_odd(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "\"'`<>\\".contains(c)
}

fn exceptions(text: &str) -> Result<Exceptions, String> {
    let mut these = Vec::new();
    for item in text.split(|c: char| c == ',' || c.is_whitespace()) {
        match item {
            "" => {}
            "*" => return Ok(Exceptions::All),
            item => these.push(exception(item).ok_or_else(|| {
                "it must be names, addresses and networks such as 10.0.0.0/8, divided by commas, without quotes and \
                 without http://, or * for everything"
                    .to_owned()
            })?),
        }
    }
    Ok(Exceptions::These(these.join(",")))
}

/// One item of NO_PROXY as reqwest reads it: `*.example.com` is `.example.com`, and a port does not matter.
fn exception(item: &str) -> Option<String> {
    let item = item.strip_prefix('*').unwrap_or(item);
    if let Some((address, length)) = item.split_once('/') {
        let most = match address.parse().ok()? {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let length: u8 = length.parse().ok()?;
        return (length <= most).then(|| item.to_owned());
    }
    if item.parse::<IpAddr>().is_ok() {
        return Some(item.to_owned());
    }
    if let Some(item) = item.strip_prefix('[') {
        let address = item.split(']').next()?.parse::<IpAddr>().ok()?;
        return Some(address.to_string());
    }
    let host = match item.split_once(':') {
        Some((host, port)) => port.parse::<u16>().ok().map(|_| host)?,
        None => item,
    };
    let is_name = host
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    (!host.is_empty() && is_name).then(|| host.to_owned())
}

fn address(proxy: Option<&Url>) -> &str {
    proxy.map_or("", Url::as_str)
}

#[cfg(test)]
mod tests {
    use common::env::Environment;

    use super::{Proxies, SMALL_VARIABLES, VARIABLES};

    /// The host that is looked up for `url` with those settings, or what is wrong with them.
    fn host(pairs: &[(&str, &str)], url: &str) -> Result<String, String> {
        let tables = [VARIABLES, SMALL_VARIABLES];
        let mut env = Environment::from_pairs("NONE_", &tables, pairs.iter().copied());
        let proxies = Proxies::read(&mut env);
        env.finish().map_err(|problem| problem.to_string())?;
        Ok(proxies.host_for(&url.parse().unwrap()))
    }

    const HUB: &str = "https://hub.test/x";

    #[test]
    fn a_proxy_counts_in_capitals_and_in_small_letters() {
        for (pairs, expected) in [
            (&[("HTTPS_PROXY", "http://p:3128")][..], "p"),
            (&[("https_proxy", "p:3128")], "p"),
            (&[("HTTPS_PROXY", ""), ("https_proxy", "http://p")], "p"),
            (
                &[("HTTPS_PROXY", "http://a:1"), ("https_proxy", "http://b:1")],
                "a",
            ),
            (&[("ALL_PROXY", "http://p:1")], "p"),
            (&[("HTTP_PROXY", "http://p:1")], "hub.test"),
            (&[("HTTPS_PROXY", " http://p:1\r\n")], "p"),
            (&[("HTTPS_PROXY", "http://u:p@ss@p:1")], "p"),
            (&[], "hub.test"),
        ] {
            assert_eq!(host(pairs, HUB).as_deref(), Ok(expected), "{pairs:?}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_with_the_variable_and_without_the_value() {
        for text in [
            "\"http://hidden@p:1\"",
            "'http://hidden@p:1'",
            "http://hidden\r@p:1",
            "http://hidden@p :1",
            "hidden",
            "://hidden",
            "http://",
            "http://p:99999/hidden",
            "http://u:hidden/x@p:1",
            "http://u:hidden#x@p:1",
            "socks5://hidden:1",
            "ftp://hidden:1",
            "http://hidden:0",
        ] {
            for name in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"] {
                let problem = host(&[(name, text)], HUB).unwrap_err();
                assert!(problem.contains(name), "{text}: {problem}");
                assert!(!problem.contains("hidden"), "{text}: {problem}");
            }
        }
    }

    #[test]
    fn no_proxy_names_hosts_addresses_networks_or_everything() {
        for (none_for, url, expected) in [
            ("*", HUB, "hub.test"),
            ("*", "https://10.1.2.3/x", "10.1.2.3"),
            ("10.0.0.0/8", "https://10.1.2.3/x", "10.1.2.3"),
            ("10.0.0.0/8", "https://11.1.2.3/x", "p"),
            ("10.1.2.3", "https://10.1.2.3/x", "10.1.2.3"),
            ("[::1]:80 fd00::/8", "https://[fd00::1]/x", "[fd00::1]"),
            ("a.test, *.test", HUB, "hub.test"),
            ("hub.test:443", HUB, "hub.test"),
            ("ub.test", HUB, "p"),
            ("", HUB, "p"),
        ] {
            let pairs = [("HTTPS_PROXY", "http://p:1"), ("no_proxy", none_for)];
            assert_eq!(host(&pairs, url).as_deref(), Ok(expected), "{none_for}");
        }
        for none_for in [
            "\"a.test\"",
            "http://a.test",
            "10.0.0.0/33",
            "a.test;b.test",
            "a/b",
        ] {
            let problem = host(&[("NO_PROXY", none_for)], HUB).unwrap_err();
            assert!(problem.contains("NO_PROXY is not usable"), "{problem}");
        }
    }
}
