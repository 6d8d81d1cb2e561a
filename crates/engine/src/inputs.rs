//! Watermarks, idleness and ends over the input channels of one subtask.

use flott_core::time::MIN_WATERMARK;

/// One sending subtask, seen from the receiver.
#[derive(Debug, Clone, Copy)]
struct Channel {
    watermark: i64,
    is_idle: bool,
    has_ended: bool,
    /// A channel that comes back from idleness behind the others does not hold them back before
    /// it has caught up.
    is_aligned: bool,
}

/// What a control message has changed.
#[derive(Debug, PartialEq, Eq)]
pub enum InputChange {
    Nothing,
    /// The least watermark has risen to this.
    Watermark(i64),
    /// All channels are idle; the watermark rises first where one is given.
    Idle(Option<i64>),
    /// All channels have ended.
    End,
}

/// All channels of all inputs of one subtask.
#[derive(Debug)]
pub struct InputChannels {
    channels: Vec<Vec<Channel>>,
    watermark: i64,
    is_idle: bool,
}

impl InputChannels {
    /// `senders` is the number of sending subtasks of each input.
    pub fn new(senders: &[usize]) -> Self {
        let channel = Channel {
            watermark: MIN_WATERMARK,
            is_idle: false,
            has_ended: false,
            is_aligned: true,
        };
        Self {
            channels: senders.iter().map(|&n| vec![channel; n]).collect(),
            watermark: MIN_WATERMARK,
            is_idle: false,
        }
    }

    /// Goes on from a watermark that had been reached before a restore.
    pub fn resume(&mut self, watermark: i64) {
        self.watermark = watermark;
    }

    /// Rows have come in: the channel is not idle any more.
    pub fn on_batch(&mut self, input: usize, channel: usize) {
        let watermark = self.watermark;
        let channel = &mut self.channels[input][channel];
        if channel.is_idle {
            channel.is_idle = false;
            channel.is_aligned = channel.watermark >= watermark;
            self.is_idle = false;
        }
    }

    pub fn on_watermark(&mut self, input: usize, channel: usize, watermark: i64) -> InputChange {
        self.on_batch(input, channel);
        let reached = self.watermark;
        let channel = &mut self.channels[input][channel];
        channel.watermark = channel.watermark.max(watermark);
        channel.is_aligned |= channel.watermark >= reached;
        self.change()
    }

    pub fn on_idle(&mut self, input: usize, channel: usize) -> InputChange {
        self.channels[input][channel].is_idle = true;
        self.change()
    }

    pub fn on_end(&mut self, input: usize, channel: usize) -> InputChange {
        self.channels[input][channel].has_ended = true;
        self.change()
    }

    /// Whether all channels of this input have ended.
    pub fn has_ended(&self, input: usize) -> bool {
        self.channels[input].iter().all(|c| c.has_ended)
    }

    fn change(&mut self) -> InputChange {
        let channels = || self.channels.iter().flatten();
        if channels().all(|c| c.has_ended) {
            return InputChange::End;
        }
        if channels().all(|c| c.has_ended || c.is_idle) {
            // Nobody holds the watermark back: it goes as far as anyone had come.
            let idle = channels().filter(|c| !c.has_ended).map(|c| c.watermark);
            let risen = self.raise(idle.max());
            let was_idle = std::mem::replace(&mut self.is_idle, true);
            return match (was_idle, risen) {
                (true, None) => InputChange::Nothing,
                (_, risen) => InputChange::Idle(risen),
            };
        }
        self.is_idle = false;
        let active = channels().filter(|c| !c.has_ended && !c.is_idle && c.is_aligned);
        let least = active.map(|c| c.watermark).min();
        self.raise(least)
            .map_or(InputChange::Nothing, InputChange::Watermark)
    }

    fn raise(&mut self, watermark: Option<i64>) -> Option<i64> {
        let risen = watermark.filter(|&w| w > self.watermark)?;
        self.watermark = risen;
        Some(risen)
    }
}

#[cfg(test)]
mod tests {
    use super::InputChange::*;
    use super::*;

    #[test]
    fn the_least_watermark_of_all_channels_counts() {
        let mut inputs = InputChannels::new(&[2, 1]);
        assert_eq!(inputs.on_watermark(0, 0, 10), Nothing);
        assert_eq!(inputs.on_watermark(0, 1, 20), Nothing);
        assert_eq!(inputs.on_watermark(1, 0, 15), Watermark(10));
        assert_eq!(inputs.on_watermark(0, 0, 30), Watermark(15));
        assert_eq!(inputs.on_end(1, 0), Watermark(20));
        assert_eq!(inputs.on_end(0, 1), Watermark(30));
        assert_eq!(inputs.on_end(0, 0), End);
    }

    #[test]
    fn an_idle_channel_holds_nothing_back_until_it_has_caught_up() {
        let mut inputs = InputChannels::new(&[2]);
        assert_eq!(inputs.on_watermark(0, 0, 10), Nothing);
        assert_eq!(inputs.on_idle(0, 1), Watermark(10));
        assert_eq!(inputs.on_watermark(0, 0, 50), Watermark(50));
        // It comes back behind the others: they go on without it.
        assert_eq!(inputs.on_watermark(0, 1, 20), Nothing);
        assert_eq!(inputs.on_watermark(0, 0, 60), Watermark(60));
        assert_eq!(inputs.on_watermark(0, 1, 70), Nothing);
        assert_eq!(inputs.on_watermark(0, 0, 100), Watermark(70));
    }

    #[test]
    fn when_all_are_idle_the_watermark_goes_as_far_as_anyone_came() {
        let mut inputs = InputChannels::new(&[2]);
        inputs.on_watermark(0, 0, 10);
        inputs.on_watermark(0, 1, 5);
        assert_eq!(inputs.on_idle(0, 1), Watermark(10));
        assert_eq!(inputs.on_idle(0, 0), Idle(None));
        assert_eq!(inputs.on_idle(0, 0), Nothing);
        inputs.on_batch(0, 0);
        assert_eq!(inputs.on_watermark(0, 0, 11), Watermark(11));
    }

    #[test]
    fn an_ended_channel_beside_an_idle_one_does_not_end_time() {
        let mut inputs = InputChannels::new(&[2]);
        inputs.on_watermark(0, 0, 10);
        assert_eq!(inputs.on_end(0, 1), Watermark(10));
        assert_eq!(inputs.on_idle(0, 0), Idle(None));
    }
}
