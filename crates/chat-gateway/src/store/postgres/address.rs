//! The address of the server, as `GATEWAY_STORE` gives it.

use std::fmt;
use std::str::FromStr as _;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::store::BUSY_TIMEOUT;

/// What a URL may say after `?`.
const PARAMETERS: [&str; 7] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "application_name",
];
/// The form that is expected.
const FORM: &str = "must be postgres://USER:PASSWORD@HOST:PORT/DATABASE";
/// How long the server waits for the next statement of a transaction, in milliseconds: a gateway that was paused in one
/// must not hold up the others.
const IDLE_MS: &str = "10000";
/// How long the server works at one statement, in milliseconds.
const STATEMENT_MS: &str = "60000";

/// A database of a PostgreSQL server. It is shown without the password.
#[derive(Clone)]
pub struct ServerAddress {
    options: PgConnectOptions,
}

impl ServerAddress {
    /// Reads a `postgres://` URL.
    ///
    /// # Errors
    ///
    /// In words that follow the variable's name, and hold nothing of the URL but the names of parameters.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text.trim()).map_err(|_| FORM.to_owned())?;
        let has_database = !url.path().trim_matches('/').is_empty();
        if !matches!(url.scheme(), "postgres" | "postgresql") || !has_database {
            return Err(FORM.to_owned());
        }
        if url.username().is_empty() {
            return Err(format!("{FORM}; it names no user"));
        }
        let unknown = url
            .query_pairs()
            .find(|(name, _)| !PARAMETERS.contains(&&**name));
        if let Some((name, _)) = unknown {
            let known = PARAMETERS.join(", ");
            return Err(format!("may have the parameters {known}, not {name:?}"));
        }
        let options = PgConnectOptions::from_str(url.as_str()).map_err(|_| {
            format!("{FORM}; a parameter is wrong (sslmode is disable, prefer, require, verify-ca or verify-full)")
        })?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("chat-gateway"),
        };
        Ok(Self { options })
    }

    /// How to connect. Statements on such a connection wait for a lock no longer than SQLite's do.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone().disable_statement_logging().options([
            (
                "lock_timeout",
                BUSY_TIMEOUT.as_millis().to_string().as_str(),
            ),
            ("statement_timeout", STATEMENT_MS),
            ("idle_in_transaction_session_timeout", IDLE_MS),
            // An idle peer that vanished is noticed by the server, too.
            ("tcp_user_timeout", IDLE_MS),
        ])
    }

    /// How to connect for work that may take long: making tables, copying.
    pub(super) fn patient(&self) -> PgConnectOptions {
        self.options.clone().disable_statement_logging()
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        let database = options.get_database().unwrap_or_default();
        match options.get_socket() {
            Some(socket) => write!(formatter, "{database} at {}", socket.display()),
            None => {
                let host = options.get_host();
                write!(formatter, "{database} at {host}:{}", options.get_port())
            }
        }
    }
}

impl fmt::Debug for ServerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ServerAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::ServerAddress;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address = ServerAddress::parse("postgres://me:s3cret@db:5433/corral").unwrap();
        assert_eq!(address.to_string(), "corral at db:5433");
        assert_eq!(format!("{address:?}"), "ServerAddress(corral at db:5433)");
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for text in [
            "",
            "s3cret",
            "mysql://me:s3cret@db/corral",
            "postgres://me:s3cret@db",
            "postgres://:s3cret@db/corral",
            "postgres://me:s3cret@db/corral?pasword=s3cret",
            "postgres://me:s3cret@db/corral?sslmode=s3cret",
            "postgres://me:s3cret@db:port/corral",
        ] {
            let refused = ServerAddress::parse(text).unwrap_err();
            assert!(!refused.contains("s3cret"), "{refused}");
        }
    }
}
