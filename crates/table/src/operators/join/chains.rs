//! Rows by key: the slots of each group in order of arrival.

/// No slot, no group.
pub(super) const NONE: u32 = u32::MAX;

/// A list of slots for each group. The lists go through the slots themselves, so that a row costs
/// no allocation and leaves its list in constant time.
#[derive(Default)]
pub(super) struct Chains {
    /// By group.
    ends: Vec<Ends>,
    /// By slot.
    links: Vec<Link>,
}

#[derive(Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
    /// [`NONE`] when the slot is in no list.
    group: u32,
}

const NO_ENDS: Ends = Ends {
    first: NONE,
    last: NONE,
};
const NO_LINK: Link = Link {
    next: NONE,
    previous: NONE,
    group: NONE,
};

impl Chains {
    /// Puts a slot at the end of a group's list.
    #[inline]
    pub fn push(&mut self, group: u32, slot: u32) {
        let (at, slot_at) = (group as usize, slot as usize);
        if at >= self.ends.len() {
            self.ends.resize(at + 1, NO_ENDS);
        }
        if slot_at >= self.links.len() {
            self.links.resize(slot_at + 1, NO_LINK);
        }
        let ends = &mut self.ends[at];
        self.links[slot_at] = Link {
            next: NONE,
            previous: ends.last,
            group,
        };
        match ends.last {
            NONE => ends.first = slot,
            last => self.links[last as usize].next = slot,
        }
        ends.last = slot;
    }

    /// Takes a slot out of its list; gives the group whose list it was in.
    pub fn remove(&mut self, slot: u32) -> u32 {
        let Link {
            next,
            previous,
            group,
        } = std::mem::replace(&mut self.links[slot as usize], NO_LINK);
        if group == NONE {
            return NONE;
        }
        let ends = &mut self.ends[group as usize];
        match previous {
            NONE => ends.first = next,
            previous => self.links[previous as usize].next = next,
        }
        match next {
            NONE => ends.last = previous,
            next => self.links[next as usize].previous = previous,
        }
        group
    }

    /// The first slot of a group, or [`NONE`].
    #[inline]
    pub fn first(&self, group: u32) -> u32 {
        self.ends.get(group as usize).map_or(NONE, |e| e.first)
    }

    /// The last slot of a group, or [`NONE`].
    pub fn last(&self, group: u32) -> u32 {
        self.ends.get(group as usize).map_or(NONE, |e| e.last)
    }

    /// The slot after this one in its list, or [`NONE`].
    #[inline]
    pub fn next(&self, slot: u32) -> u32 {
        self.links[slot as usize].next
    }

    /// The slots of a group.
    pub fn slots(&self, group: u32) -> impl Iterator<Item = u32> + '_ {
        let first = Some(self.first(group)).filter(|&s| s != NONE);
        std::iter::successors(first, |&s| Some(self.next(s)).filter(|&n| n != NONE))
    }

    /// Whether the slot is in a list.
    pub fn holds(&self, slot: u32) -> bool {
        let link = self.links.get(slot as usize);
        link.is_some_and(|l| l.group != NONE)
    }

    /// Every slot that is in a list.
    pub fn all(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.links.len() as u32).filter(|&s| self.holds(s))
    }

    /// Empties all lists.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.links.clear();
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.ends.capacity() * size_of::<Ends>() + self.links.capacity() * size_of::<Link>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(chains: &Chains, group: u32) -> Vec<u32> {
        chains.slots(group).collect()
    }

    #[test]
    fn slots_leave_from_anywhere() {
        let mut chains = Chains::default();
        for slot in 0..6 {
            chains.push(slot % 2, slot);
        }
        assert_eq!(listed(&chains, 0), [0, 2, 4]);
        assert_eq!(chains.remove(2), 0);
        assert_eq!(listed(&chains, 0), [0, 4]);
        assert_eq!(chains.remove(0), 0);
        assert_eq!(chains.remove(4), 0);
        assert_eq!(chains.remove(4), NONE);
        assert_eq!(chains.first(0), NONE);
        chains.push(0, 2);
        assert_eq!(listed(&chains, 0), [2]);
        assert_eq!(listed(&chains, 1), [1, 3, 5]);
        assert_eq!(chains.all().collect::<Vec<_>>(), [1, 2, 3, 5]);
        assert_eq!((chains.first(7), chains.last(7)), (NONE, NONE));
        assert_eq!(chains.last(1), 5);
    }
}
