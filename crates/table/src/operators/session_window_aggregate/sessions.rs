//! The sessions of keys: which session a time is in, and which are merged by it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A session of a key, in ms of wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    pub key: u32,
    pub start: i64,
    /// Exclusive: the last row's time and the gap.
    pub end: i64,
    /// The end that its timer stands at; it is looked at again then.
    timer: i64,
    is_open: bool,
}

/// The open sessions, by number.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: Vec<Session>,
    /// The numbers of each key's sessions.
    by_key: Vec<Vec<u32>>,
    free: Vec<u32>,
    /// Of each number the session that it has been merged into, or itself.
    merged_into: Vec<u32>,
    timers: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Sessions {
    /// Makes room for keys `0..num_keys`.
    pub fn resize_keys(&mut self, num_keys: usize) {
        self.by_key.resize_with(num_keys, Vec::new);
    }

    /// One more than the highest number given out.
    pub fn capacity(&self) -> usize {
        self.sessions.len()
    }

    pub fn get(&self, number: u32) -> Session {
        self.sessions[number as usize]
    }

    /// The numbers of all open sessions, ascending.
    pub fn open(&self) -> Vec<u32> {
        let numbers = 0..self.sessions.len() as u32;
        numbers.filter(|&n| self.get(n).is_open).collect()
    }

    /// Puts the times from `start` to `end` into a session of the key: a new one, or what
    /// overlaps or touches it made one. `None`, and nothing is changed, when that session has
    /// closed. Sessions that are no more are told by `merges`, with what they went into.
    pub fn insert(
        &mut self,
        key: u32,
        start: i64,
        end: i64,
        is_closed: impl Fn(i64) -> bool,
        merges: &mut Vec<(u32, u32)>,
    ) -> Option<u32> {
        let of_key = &self.by_key[key as usize];
        let (mut first, mut others) = (None, false);
        let (mut whole_start, mut whole_end) = (start, end);
        for &number in of_key {
            let session = self.sessions[number as usize];
            if session.start <= end && session.end >= start {
                others |= first.is_some();
                first.get_or_insert(number);
                whole_start = whole_start.min(session.start);
                whole_end = whole_end.max(session.end);
            }
        }
        if is_closed(whole_end) {
            return None;
        }
        let Some(number) = first else {
            return Some(self.create(key, start, end));
        };
        if others {
            self.merge_into(number, start, end, merges);
        }
        let session = &mut self.sessions[number as usize];
        (session.start, session.end) = (whole_start, whole_end);
        Some(number)
    }

    /// Takes the other sessions that `start..=end` touches out of the key's list.
    fn merge_into(&mut self, number: u32, start: i64, end: i64, merges: &mut Vec<(u32, u32)>) {
        let key = self.sessions[number as usize].key;
        let (sessions, merged_into) = (&mut self.sessions, &mut self.merged_into);
        self.by_key[key as usize].retain(|&other| {
            let session = &mut sessions[other as usize];
            let is_merged = other != number && session.start <= end && session.end >= start;
            if is_merged {
                session.is_open = false;
                merged_into[other as usize] = number;
                merges.push((other, number));
            }
            !is_merged
        });
    }

    /// Makes a session.
    pub fn create(&mut self, key: u32, start: i64, end: i64) -> u32 {
        let session = Session {
            key,
            start,
            end,
            timer: end,
            is_open: true,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.sessions[number as usize] = session;
                self.merged_into[number as usize] = number;
                number
            }
            None => {
                let number = self.sessions.len() as u32;
                self.sessions.push(session);
                self.merged_into.push(number);
                number
            }
        };
        self.by_key[key as usize].push(number);
        self.timers.push(Reverse((end, number)));
        number
    }

    /// The session that this one is part of now.
    pub fn root(&self, mut number: u32) -> u32 {
        while self.merged_into[number as usize] != number {
            number = self.merged_into[number as usize];
        }
        number
    }

    /// Gives numbers of merged sessions back.
    pub fn release(&mut self, merged: impl IntoIterator<Item = u32>) {
        self.free.extend(merged);
    }

    /// The earliest end at which a session may close.
    pub fn next_end(&self) -> Option<i64> {
        self.timers.peek().map(|Reverse((end, _))| *end)
    }

    /// Removes the sessions that are closed, in the order of their ends, and gives them.
    pub fn close(&mut self, is_closed: impl Fn(i64) -> bool) -> Vec<(u32, Session)> {
        let mut closed = Vec::new();
        while let Some(&Reverse((end, number))) = self.timers.peek() {
            if !is_closed(end) {
                break;
            }
            self.timers.pop();
            let session = &mut self.sessions[number as usize];
            if !session.is_open || session.timer != end {
                continue;
            }
            if session.end > end {
                session.timer = session.end;
                self.timers.push(Reverse((session.end, number)));
                continue;
            }
            session.is_open = false;
            closed.push((number, *session));
            self.by_key[session.key as usize].retain(|&n| n != number);
        }
        self.free.extend(closed.iter().map(|(number, _)| number));
        closed
    }

    /// About how many bytes are held.
    pub fn size_bytes(&self) -> usize {
        let session = size_of::<Session>() + 4 + size_of::<(i64, u32)>() + 4;
        self.sessions.capacity() * session + self.by_key.capacity() * size_of::<Vec<u32>>()
    }

    /// Whether a key has no session.
    pub fn is_without(&self, key: u32) -> bool {
        self.by_key[key as usize].is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(sessions: &mut Sessions, time: i64, closed: i64) -> (Option<u32>, Vec<(u32, u32)>) {
        let mut merges = Vec::new();
        let number = sessions.insert(0, time, time + 5, |end| end <= closed, &mut merges);
        (number, merges)
    }

    #[test]
    fn a_row_between_two_sessions_makes_them_one() {
        let mut sessions = Sessions::default();
        sessions.resize_keys(1);
        assert_eq!(insert(&mut sessions, 0, 0), (Some(0), vec![]));
        assert_eq!(insert(&mut sessions, 9, 0), (Some(1), vec![]));
        assert_eq!(insert(&mut sessions, 4, 0), (Some(0), vec![(1, 0)]));
        assert_eq!((sessions.get(0).start, sessions.get(0).end), (0, 14));
        assert_eq!(sessions.root(1), 0);
        sessions.release([1]);
        assert!(sessions.close(|end| end <= 13).is_empty());
        assert_eq!(sessions.close(|end| end <= 14).len(), 1);
    }

    #[test]
    fn sessions_that_touch_are_one() {
        let mut sessions = Sessions::default();
        sessions.resize_keys(1);
        insert(&mut sessions, 0, 0);
        assert_eq!(insert(&mut sessions, 5, 0).0, Some(0));
        assert_eq!(insert(&mut sessions, 11, 0).0, Some(1));
    }

    #[test]
    fn a_late_row_that_joins_an_open_session_is_not_late() {
        let mut sessions = Sessions::default();
        sessions.resize_keys(1);
        insert(&mut sessions, 10, 8);
        assert_eq!(insert(&mut sessions, 5, 12).0, Some(0));
        assert_eq!(insert(&mut sessions, -1, 12).0, None);
    }
}
