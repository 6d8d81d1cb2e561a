//! Restart strategies: whether a failed job starts again, and when. As in Flink.

use std::collections::VecDeque;
use std::time::Duration;

use flott_core::hash::mix;
use flott_core::options::Options;
use flott_core::{Error, Result};

use crate::config;

/// What a configuration says about failures.
#[derive(Debug, Clone, PartialEq)]
pub enum RestartStrategy {
    /// The first failure is the last.
    None,
    FixedDelay {
        num_attempts: u64,
        delay: Duration,
    },
    /// Restarts until there are more failures than this in the interval.
    FailureRate {
        max_failures: usize,
        interval: Duration,
        delay: Duration,
    },
    /// The delay grows with every failure, and begins anew after a while without any.
    ExponentialDelay {
        initial: Duration,
        max: Duration,
        multiplier: f64,
        reset_after: Duration,
        /// The delay varies by this part of itself.
        jitter: f64,
        num_attempts: u64,
    },
}

impl RestartStrategy {
    /// Reads `restart-strategy.*`; where nothing is said, jobs with checkpoints restart with
    /// growing delays, and others do not restart.
    ///
    /// # Errors
    /// A user error that names the key and what it takes.
    pub fn from_options(options: &Options, has_checkpoints: bool) -> Result<Self> {
        let time = |def| -> Result<Duration> { Ok(options.duration(def)?.unwrap_or_default()) };
        let number = |def| -> Result<u64> { Ok(options.integer(def)?.unwrap_or(0).max(0) as u64) };
        let default = if has_checkpoints {
            "exponential-delay"
        } else {
            "none"
        };
        let text = options.text(&config::RESTART_TYPE).unwrap_or(default);
        match text.trim().to_ascii_lowercase().as_str() {
            "none" | "off" | "disable" | "no-restart" => Ok(Self::None),
            "fixed-delay" | "fixeddelay" => Ok(Self::FixedDelay {
                num_attempts: number(&config::FIXED_ATTEMPTS)?,
                delay: time(&config::FIXED_DELAY)?,
            }),
            "failure-rate" | "failurerate" => Ok(Self::FailureRate {
                max_failures: number(&config::RATE_FAILURES)? as usize,
                interval: time(&config::RATE_INTERVAL)?,
                delay: time(&config::RATE_DELAY)?,
            }),
            "exponential-delay" | "exponentialdelay" => {
                let multiplier = options.double(&config::BACKOFF_MULTIPLIER)?.unwrap_or(1.5);
                let jitter = options.double(&config::BACKOFF_JITTER)?.unwrap_or(0.0);
                Ok(Self::ExponentialDelay {
                    initial: time(&config::BACKOFF_INITIAL)?,
                    max: time(&config::BACKOFF_MAX)?,
                    multiplier: multiplier.max(1.0),
                    reset_after: time(&config::BACKOFF_RESET)?,
                    jitter: jitter.clamp(0.0, 1.0),
                    num_attempts: number(&config::BACKOFF_ATTEMPTS)?,
                })
            }
            _ => Err(Error::user(
                "INVALID_OPTION",
                format!(
                    "option '{}' is '{text}'; it takes none, fixed-delay, failure-rate or exponential-delay",
                    config::RESTART_TYPE.key
                ),
            )),
        }
    }
}

/// A strategy at work on one job.
#[derive(Debug)]
pub struct Restarts {
    strategy: RestartStrategy,
    /// Varies delays between jobs; the same seed gives the same delays.
    seed: u64,
    /// Failures since the beginning, or since the delay began anew.
    num_failures: u64,
    /// When the last failures were, in ms.
    failures: VecDeque<i64>,
    backoff: Duration,
}

impl Restarts {
    pub fn new(strategy: RestartStrategy, seed: u64) -> Self {
        Self {
            strategy,
            seed,
            num_failures: 0,
            failures: VecDeque::new(),
            backoff: Duration::ZERO,
        }
    }

    /// The job has failed at this time, in ms: how long to wait before the next attempt, or `None`
    /// to give up.
    pub fn after_failure(&mut self, now_ms: i64) -> Option<Duration> {
        match self.strategy {
            RestartStrategy::None => None,
            RestartStrategy::FixedDelay {
                num_attempts,
                delay,
            } => {
                self.num_failures += 1;
                (self.num_failures <= num_attempts).then_some(delay)
            }
            RestartStrategy::FailureRate {
                max_failures,
                interval,
                delay,
            } => {
                self.failures.push_back(now_ms);
                while self.failures.len() > max_failures + 1 {
                    self.failures.pop_front();
                }
                let first = self.failures.front().copied().unwrap_or(now_ms);
                let is_too_often = self.failures.len() > max_failures
                    && now_ms - first <= interval.as_millis() as i64;
                (!is_too_often).then_some(delay)
            }
            RestartStrategy::ExponentialDelay {
                initial,
                max,
                multiplier,
                reset_after,
                jitter,
                num_attempts,
            } => {
                let quiet = self.failures.pop_back().map(|last| now_ms - last);
                self.failures.push_back(now_ms);
                // The time of the delay itself does not count as time without a failure.
                let needed = reset_after + self.backoff;
                if quiet.is_some_and(|ms| ms >= needed.as_millis() as i64) {
                    self.num_failures = 0;
                }
                self.num_failures += 1;
                if self.num_failures > num_attempts {
                    return None;
                }
                let grown = match self.num_failures {
                    1 => initial,
                    _ => Duration::try_from_secs_f64(self.backoff.as_secs_f64() * multiplier)
                        .unwrap_or(max),
                };
                self.backoff = grown.min(max);
                Some(self.vary(self.backoff, jitter))
            }
        }
    }

    fn vary(&self, delay: Duration, jitter: f64) -> Duration {
        let draw = mix(self.seed, self.num_failures) >> 11;
        let part = draw as f64 / (1u64 << 53) as f64 * 2.0 - 1.0;
        delay.mul_f64((1.0 + part * jitter).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarts(pairs: &[(&str, &str)]) -> Restarts {
        let pairs = pairs
            .iter()
            .map(|(k, v)| (format!("restart-strategy.{k}"), v.to_string()));
        let strategy = RestartStrategy::from_options(&pairs.collect(), true).unwrap();
        Restarts::new(strategy, 7)
    }

    #[test]
    fn none_gives_up_at_once() {
        assert_eq!(restarts(&[("type", "off")]).after_failure(0), None);
    }

    #[test]
    fn fixed_delay_counts_attempts() {
        let mut restarts = restarts(&[
            ("type", "fixed-delay"),
            ("fixed-delay.attempts", "2"),
            ("fixed-delay.delay", "3 s"),
        ]);
        let delay = Some(Duration::from_secs(3));
        let delays: Vec<_> = (0..3).map(|t| restarts.after_failure(t)).collect();
        assert_eq!(delays, [delay, delay, None]);
    }

    #[test]
    fn failure_rate_forgets_old_failures() {
        let mut restarts = restarts(&[
            ("type", "failure-rate"),
            ("failure-rate.max-failures-per-interval", "2"),
            ("failure-rate.failure-rate-interval", "1 min"),
        ]);
        assert!(restarts.after_failure(0).is_some());
        assert!(restarts.after_failure(50_000).is_some());
        assert!(restarts.after_failure(70_000).is_some());
        assert!(restarts.after_failure(100_000).is_none());
    }

    #[test]
    fn exponential_delay_grows_to_its_maximum_and_begins_anew() {
        let mut restarts = restarts(&[
            ("exponential-delay.initial-backoff", "1 s"),
            ("exponential-delay.backoff-multiplier", "2"),
            ("exponential-delay.max-backoff", "5 s"),
            ("exponential-delay.jitter-factor", "0"),
            ("exponential-delay.reset-backoff-threshold", "1 min"),
        ]);
        let seconds = |d: Option<Duration>| d.unwrap().as_secs();
        let delays: Vec<u64> = (0..5)
            .map(|i| seconds(restarts.after_failure(i * 10_000)))
            .collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        // 40 s + 5 s of delay + 1 min.
        assert_eq!(seconds(restarts.after_failure(104_000)), 5);
        assert_eq!(seconds(restarts.after_failure(169_001)), 1);
    }

    #[test]
    fn jitter_stays_in_its_bounds() {
        let mut restarts = restarts(&[("exponential-delay.jitter-factor", "0.1")]);
        let first = restarts.after_failure(0).unwrap().as_secs_f64();
        assert!((0.9..=1.1).contains(&first), "{first}");
        assert_ne!(first, 1.0);
    }
}
