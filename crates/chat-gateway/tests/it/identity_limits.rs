//! What one user and one address may use at once.

use std::time::Duration;

use chat_gateway::identity::{RetryAfter, TooManySockets, User, UserBounds, UserLimits};
use futures_util::future::join_all;
use testkit::ws_client::{Refused, WsClient};

use crate::gateway::Gateway;
use crate::identity::upgrade;
use crate::identity_sessions::identities;
use crate::issuer::claims;

const PROXIES: (&str, &str) = ("GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8");
const BY_HEADER: (&str, &str) = ("GATEWAY_AUTH", "header");

async fn open(gateway: &Gateway, user: &str, address: &str) -> Result<WsClient, u16> {
    let headers = [("x-forwarded-user", user), ("x-forwarded-for", address)];
    let opened = WsClient::connect_with(&gateway.chat_url(), &headers).await;
    opened.map_err(|error| error.downcast::<Refused>().unwrap().status)
}

async fn user(name: &str) -> User {
    identities(&claims(name)).await.1
}

fn limits(bounds: UserBounds) -> UserLimits {
    UserLimits::new(bounds)
}

#[tokio::test]
async fn a_user_has_as_many_sockets_as_the_bound_wherever_they_are() {
    let gateway = Gateway::start_with(&[
        PROXIES,
        BY_HEADER,
        ("GATEWAY_SOCKETS_PER_USER", "3"),
        ("GATEWAY_SOCKETS_PER_ADDRESS", "0"),
    ])
    .await;
    let tries = (0..20).map(async |n| open(&gateway, "ada", &format!("198.51.100.{n}")).await);
    let (mut opened, refused): (Vec<_>, Vec<_>) =
        join_all(tries).await.into_iter().partition(Result::is_ok);
    assert_eq!((opened.len(), refused.len()), (3, 17));
    assert!(refused.iter().all(|refused| matches!(refused, Err(429))));
    assert!(open(&gateway, "grace", "198.51.100.1").await.is_ok());
    gateway
        .metric("chat_gateway_upgrades_refused_total{reason=\"sockets_per_user\"} 17")
        .await;
    gateway.metric("chat_gateway_sockets_open 3").await;

    // However a socket ends, its place is free again.
    opened.pop().unwrap().unwrap().close().await.unwrap();
    opened.pop().unwrap().unwrap().abort();
    gateway.metric("chat_gateway_sockets_open 1").await;
    let again = [
        open(&gateway, "ada", "198.51.100.1").await,
        open(&gateway, "ada", "198.51.100.1").await,
        open(&gateway, "ada", "198.51.100.1").await,
    ];
    assert_eq!(again.map(|opened| opened.err()), [None, None, Some(429)]);
}

#[tokio::test]
async fn an_address_has_as_many_sockets_as_the_bound_whoever_sits_there() {
    let gateway = Gateway::start_with(&[PROXIES, ("GATEWAY_SOCKETS_PER_ADDRESS", "2")]).await;
    let mut opened = Vec::new();
    for (address, expected) in [
        ("198.51.100.1", None),
        ("198.51.100.1", None),
        ("198.51.100.1", Some(429)),
        ("203.0.113.9, 198.51.100.1", Some(429)),
        ("198.51.100.2", None),
        // One subscriber of IPv6 has a whole network.
        ("2001:db8::1", None),
        ("2001:db8::ffff:2", None),
        ("2001:db8::3", Some(429)),
        ("2001:db8:0:1::1", None),
    ] {
        let result = open(&gateway, "ignored", address).await;
        assert_eq!(result.as_ref().err().copied(), expected, "{address}");
        opened.extend(result);
    }
    let refused = upgrade(&gateway, &[("x-forwarded-for", "198.51.100.1")]).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (429, &"5".parse().unwrap())
    );
    drop(opened);
    gateway.metric("chat_gateway_sockets_open 0").await;
    assert!(open(&gateway, "ignored", "198.51.100.1").await.is_ok());
}

#[tokio::test]
async fn without_trusted_proxies_the_address_is_the_peers() {
    let gateway = Gateway::start_with(&[("GATEWAY_SOCKETS_PER_ADDRESS", "1")]).await;
    let first = open(&gateway, "ignored", "198.51.100.1").await;
    assert!(first.is_ok());
    assert_eq!(
        open(&gateway, "ignored", "198.51.100.2").await.err(),
        Some(429)
    );
}

#[tokio::test]
async fn a_seat_is_of_a_user_and_an_address_and_takes_both_or_none() {
    let limits = limits(UserBounds {
        sockets_per_user: Some(2.try_into().unwrap()),
        sockets_per_address: Some(3.try_into().unwrap()),
        ..UserBounds::default()
    });
    let ada = user("ada").await;
    let grace = user("grace").await;
    let here = "198.51.100.1".parse().unwrap();
    let there = "198.51.100.2".parse().unwrap();
    let held = [
        limits.seat(&ada, here).unwrap(),
        limits.seat(&ada, here).unwrap(),
    ];
    assert_eq!(limits.seat(&ada, here).err(), Some(TooManySockets::PerUser));
    assert_eq!(
        limits.seat(&ada, there).err(),
        Some(TooManySockets::PerUser)
    );
    let third = limits.seat(&grace, here).unwrap();
    assert_eq!(
        limits.seat(&grace, here).err(),
        Some(TooManySockets::PerAddress)
    );
    drop(third);
    assert!(limits.seat(&grace, here).is_ok());
    drop(held);
    assert!(limits.seat(&ada, here).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_user_has_a_minutes_messages_and_then_one_at_a_time() {
    let limits = limits(UserBounds {
        messages_per_minute: Some(30.try_into().unwrap()),
        ..UserBounds::default()
    });
    let ada = user("ada").await;
    let sent = (0..40).filter(|_| limits.message(&ada).is_ok()).count();
    assert_eq!(sent, 30);
    assert_eq!(
        limits.message(&ada),
        Err(RetryAfter(Duration::from_secs(2)))
    );
    assert_eq!(limits.message(&user("grace").await), Ok(()));
    tokio::time::advance(Duration::from_millis(1999)).await;
    assert_eq!(
        limits.message(&ada),
        Err(RetryAfter(Duration::from_millis(1)))
    );
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(limits.message(&ada), Ok(()));
    assert_eq!(
        limits.message(&ada),
        Err(RetryAfter(Duration::from_secs(2)))
    );
    tokio::time::advance(Duration::from_secs(3600)).await;
    let sent = (0..40).filter(|_| limits.message(&ada).is_ok()).count();
    assert_eq!(sent, 30);
}

#[tokio::test]
async fn a_user_has_as_many_answers_as_the_bound() {
    let limits = limits(UserBounds {
        answers_per_user: Some(4.try_into().unwrap()),
        ..UserBounds::default()
    });
    let ada = user("ada").await;
    let mut seats: Vec<_> = (0..10).map_while(|_| limits.answer(&ada)).collect();
    assert_eq!(seats.len(), 4);
    assert!(limits.answer(&user("grace").await).is_some());
    seats.pop();
    let again = limits.answer(&ada);
    assert!(again.is_some());
    assert!(limits.answer(&ada).is_none());
}

#[tokio::test]
async fn where_there_is_no_bound_nobody_is_counted() {
    let limits = limits(UserBounds::default());
    let ada = user("ada").await;
    let here = "198.51.100.1".parse().unwrap();
    let seats: Vec<_> = (0..1000).map(|_| limits.seat(&ada, here)).collect();
    assert!(seats.iter().all(Result::is_ok));
    let answers: Vec<_> = (0..1000).map(|_| limits.answer(&ada)).collect();
    assert!(answers.iter().all(Option::is_some));
    assert!((0..1000).all(|_| limits.message(&ada).is_ok()));
}
