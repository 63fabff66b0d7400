//! What the three command lines have in common: which driver on which node, and lists for people or programs.

use clap::{Args, ValueEnum};

use crate::model::DriverName;

/// Which driver, on which node.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// Name of the DRA driver, as in DeviceClasses and ResourceSlices; attributes without a domain belong to it
    #[arg(
        long,
        env = "NETWORK_DRIVER_DRIVER_NAME",
        value_name = "NAME",
        default_value = "network.example.com",
        global = true
    )]
    pub driver_name: DriverName,
    /// Name of this node, which is also its pool's
    #[arg(
        long,
        env = "NODE_NAME",
        value_name = "NAME",
        default_value = "",
        global = true
    )]
    pub node_name: String,
}

/// Form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people
    Table,
    /// JSON for programs
    Json,
}

/// Rows below their header, each column as wide as its widest cell.
pub fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let rows: Vec<_> = std::iter::once(header.map(str::to_owned))
        .chain(rows)
        .collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = widths.iter().zip(row);
        let line: String = cells
            .map(|(&width, cell)| format!("{cell:width$}  "))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let text = table(
            ["LINK", "KIND", "STATE"],
            [row(["a", "-", "offered"]), row(["ürgh-1", "veth", ""])],
        );
        assert_eq!(
            text,
            "LINK    KIND  STATE\na       -     offered\nürgh-1  veth\n"
        );
    }
}
