//! A priority queue whose order of equal elements is a known one.

/// A binary heap with the least element first. Equal elements come in the order that follows from
/// the textbook algorithm, which Java's `PriorityQueue` has too: where several runs of a pattern
/// began at the same row, it decides which match is the one.
#[derive(Debug, Clone)]
pub(super) struct Heap<T> {
    items: Vec<T>,
}

/// What a heap orders by.
pub(super) trait Ranked {
    fn rank(&self) -> u64;
}

impl<T> Default for Heap<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T: Ranked> Heap<T> {
    /// In no particular order but a fixed one: pushed so into another heap, they give the same.
    pub fn items(&self) -> &[T] {
        &self.items
    }

    pub fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.items)
    }

    pub fn peek(&self) -> Option<&T> {
        self.items.first()
    }

    pub fn push(&mut self, item: T) {
        self.items.push(item);
        let mut child = self.items.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if self.items[child].rank() >= self.items[parent].rank() {
                break;
            }
            self.items.swap(child, parent);
            child = parent;
        }
    }

    pub fn pop(&mut self) -> Option<T> {
        if self.items.is_empty() {
            return None;
        }
        let first = self.items.swap_remove(0);
        self.sink(0);
        Some(first)
    }

    /// Drops all elements but those that `keeps` says.
    pub fn retain(&mut self, keeps: impl Fn(&T) -> bool) {
        let before = self.items.len();
        self.items.retain(|item| keeps(item));
        if self.items.len() < before {
            (0..self.items.len() / 2).rev().for_each(|i| self.sink(i));
        }
    }

    fn sink(&mut self, mut parent: usize) {
        loop {
            let (left, right) = (2 * parent + 1, 2 * parent + 2);
            if left >= self.items.len() {
                return;
            }
            let rank = |i: usize| self.items[i].rank();
            let child = match right < self.items.len() && rank(right) < rank(left) {
                true => right,
                false => left,
            };
            if rank(parent) <= rank(child) {
                return;
            }
            self.items.swap(parent, child);
            parent = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Ranked for (u64, usize) {
        fn rank(&self) -> u64 {
            self.0
        }
    }

    proptest! {
        #[test]
        fn the_least_comes_first(ranks in proptest::collection::vec(0u64..8, 0..40), gone in 0u64..8) {
            let mut heap = Heap::default();
            for (i, rank) in ranks.iter().enumerate() {
                heap.push((*rank, i));
            }
            heap.retain(|item| item.0 != gone);
            let mut sorted: Vec<u64> = ranks.into_iter().filter(|r| *r != gone).collect();
            sorted.sort_unstable();
            let popped = std::iter::from_fn(|| heap.pop()).map(|item| item.0);
            prop_assert_eq!(popped.collect::<Vec<_>>(), sorted);
        }
    }

    #[test]
    fn equal_elements_come_as_from_a_java_queue() {
        let mut heap = Heap::default();
        (0..4).for_each(|i| heap.push((1, i)));
        let order = std::iter::from_fn(|| heap.pop()).map(|item| item.1);
        // Removing the first puts the last in its place, and equal ones do not move.
        assert_eq!(order.collect::<Vec<_>>(), [0, 3, 2, 1]);
    }
}
