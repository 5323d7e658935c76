//! A token bucket per client: its key, or its address where it has none.
//!
//! Invariant: the number of buckets is bounded, whoever asks. Addresses come from the connection, never from a
//! header that a client may write.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

/// Buckets above which addresses share one per [`CROWD`]-th of them, until the crowd has gone.
const MOST_BUCKETS: usize = 100_000;
/// Shared buckets of a crowd.
const CROWD: u16 = 1_024;

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// A key, by its name.
    Key(Arc<str>),
    /// An address; of IPv6 its first 64 bits, because one customer has all that follow.
    Address(IpAddr),
    /// One of the buckets that addresses share while there are too many of them.
    Crowd(u16),
}

impl Client {
    /// Returns the client at an address.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = u128::from(v6) & !u128::from(u64::MAX);
                Self::Address(IpAddr::V6(Ipv6Addr::from(network)))
            }
            IpAddr::V4(v4) => Self::Address(IpAddr::V4(v4)),
        }
    }

    fn crowded(self) -> Self {
        let Self::Address(address) = self else { return self };
        let bits = match address {
            IpAddr::V4(v4) => u32::from(v4),
            // The network's low half varies most.
            IpAddr::V6(v6) => {
                v6.segments().iter().fold(0, |sum, part| sum * 31 % 1_000_003 + u32::from(*part))
            }
        };
        Self::Crowd(u16::try_from(bits % u32::from(CROWD)).unwrap_or(0))
    }
}

type Limiter<C> =
    RateLimiter<Client, DefaultKeyedStateStore<Client>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The limit, and every client's bucket; without a rate, no limit.
#[derive(Debug)]
pub struct RateLimit<C: Clock = DefaultClock> {
    limiter: Option<Limiter<C>>,
    clock: C,
    crowded: AtomicBool,
}

impl RateLimit {
    /// Returns a limit of that many requests per second and that many at once; 0 per second is no limit.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self::with_clock(per_second, burst, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimit<C> {
    /// As [`RateLimit::new`], with a clock of the caller's.
    pub fn with_clock(per_second: u32, burst: u32, clock: C) -> Self {
        let limiter = NonZeroU32::new(per_second).map(|rate| {
            let quota = Quota::per_second(rate).allow_burst(NonZeroU32::new(burst).unwrap_or(rate));
            RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock.clone())
        });
        Self { limiter, clock, crowded: AtomicBool::new(false) }
    }

    /// Takes one token from the client's bucket.
    ///
    /// # Errors
    /// How long to wait until there is one.
    pub fn check(&self, client: impl FnOnce() -> Client) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let client = client();
        let client = if self.crowded.load(Ordering::Relaxed) { client.crowded() } else { client };
        limiter.check_key(&client).map_err(|refused| refused.wait_time_from(self.clock.now()))
    }

    /// Forgets clients whose bucket is full again; to be called every second or so.
    pub fn upkeep(&self) {
        let Some(limiter) = &self.limiter else { return };
        limiter.retain_recent();
        let crowded = limiter.len() > MOST_BUCKETS;
        if !crowded {
            limiter.shrink_to_fit();
        }
        self.crowded.store(crowded, Ordering::Relaxed);
    }

    /// Returns how many clients have a bucket.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.limiter.as_ref().map_or(0, RateLimiter::len)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn address(text: &str) -> Client {
        Client::at(text.parse().unwrap())
    }

    #[test]
    fn a_burst_is_allowed_then_the_rate_and_the_wait_is_told() {
        let clock = FakeRelativeClock::default();
        let limit = RateLimit::with_clock(2, 3, clock.clone());
        let ask = |who: &str| limit.check(|| address(who));
        assert_eq!([ask("10.0.0.1"), ask("10.0.0.1"), ask("10.0.0.1")], [Ok(()); 3]);
        assert_eq!(ask("10.0.0.1"), Err(Duration::from_millis(500)));
        assert_eq!(ask("10.0.0.2"), Ok(()), "another client has its own bucket");
        clock.advance(Duration::from_millis(500));
        assert_eq!(ask("10.0.0.1"), Ok(()));
        assert_eq!(ask("10.0.0.1"), Err(Duration::from_millis(500)));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let limit = RateLimit::new(0, 0);
        assert!((0..1000).all(|_| limit.check(|| address("::1")).is_ok()));
    }

    #[test]
    fn clients_are_forgotten_and_a_crowd_shares_buckets() {
        let clock = FakeRelativeClock::default();
        let limit = RateLimit::with_clock(1, 1, clock.clone());
        let many = u32::try_from(MOST_BUCKETS).unwrap() + 1;
        let arrive = |from: u32| {
            (from..from + many).for_each(|n| {
                limit.check(|| Client::at(IpAddr::V4(n.into()))).unwrap_or_default();
            });
        };
        arrive(0);
        limit.upkeep();
        assert_eq!(limit.buckets(), MOST_BUCKETS + 1);
        arrive(many);
        assert_eq!(limit.buckets(), MOST_BUCKETS + 1 + usize::from(CROWD));
        clock.advance(Duration::from_secs(3));
        limit.upkeep();
        assert_eq!(limit.buckets(), 0);
    }

    #[test]
    fn one_network_of_ipv6_is_one_client() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::2:3"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }
}
