//! The settings a stream test runs under: one cell for each combination.

use anyhow::{Result, bail};

/// One combination of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub parallelism: usize,
    pub feed: Feed,
    /// Crash and restore at every possible point.
    pub crash: bool,
    /// State in files, as little as possible in memory.
    pub disk: bool,
}

/// How the rows of a feed come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// A batch for each row.
    Rows,
    /// One batch.
    Whole,
}

impl Cell {
    /// The cell that checks everything.
    pub const BASE: Cell = Cell {
        parallelism: 1,
        feed: Feed::Whole,
        crash: false,
        disk: false,
    };

    pub fn is_base(&self) -> bool {
        *self == Self::BASE
    }

    /// `p=4,rows`.
    pub fn name(&self) -> String {
        let feed = if self.feed == Feed::Rows {
            "rows"
        } else {
            "whole"
        };
        let crash = if self.crash { ",crash" } else { "" };
        let disk = if self.disk { ",disk" } else { "" };
        format!("p={},{feed}{crash}{disk}", self.parallelism)
    }
}

/// What files run under that say nothing: parallelism 1 and 4, by row and whole, with crashes, and
/// with state in files.
pub const DEFAULT: &str = "parallelism=1,4 feed=rows,whole crash=everywhere state=heap,disk";

/// The cells of a matrix line, the base cell first; `crash=everywhere` is one cell more, and so is
/// `state=disk`, in which rows come one by one.
pub fn cells(matrix: &str) -> Result<Vec<Cell>> {
    let (mut parallelisms, mut feeds) = (vec![1], vec![Feed::Whole]);
    let (mut crashes, mut is_on_disk) = (false, false);
    for setting in matrix.split_whitespace() {
        let Some((key, values)) = setting.split_once('=') else {
            bail!("'{setting}' in the matrix is not key=values");
        };
        let values = values.split(',');
        match key {
            "parallelism" => parallelisms = values.map(str::parse).collect::<Result<_, _>>()?,
            "feed" => {
                let feed = |v| if v == "rows" { Feed::Rows } else { Feed::Whole };
                feeds = values.map(feed).collect();
            }
            "crash" => crashes = values.clone().any(|v: &str| v == "everywhere"),
            "state" => is_on_disk = values.clone().any(|v: &str| v == "disk"),
            _ => bail!("unknown setting '{key}' in the matrix"),
        }
    }
    let mut cells = vec![Cell::BASE];
    for &parallelism in &parallelisms {
        for &feed in &feeds {
            let cell = Cell {
                parallelism,
                feed,
                ..Cell::BASE
            };
            if !cell.is_base() {
                cells.push(cell);
            }
        }
    }
    if crashes {
        cells.push(Cell {
            crash: true,
            ..Cell::BASE
        });
    }
    if is_on_disk {
        cells.push(Cell {
            feed: Feed::Rows,
            disk: true,
            ..Cell::BASE
        });
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_matrix_has_four_cells_one_with_crashes_and_one_with_state_in_files() {
        let names: Vec<String> = cells(DEFAULT).unwrap().iter().map(Cell::name).collect();
        let settings = ["p=1,whole", "p=1,rows", "p=4,rows", "p=4,whole"];
        assert_eq!(names[..4], settings);
        assert_eq!(names[4..], ["p=1,whole,crash", "p=1,rows,disk"]);
    }
}
