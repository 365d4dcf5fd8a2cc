//! The UCI digits: 1,797 handwritten digits of 8 × 8 pixels, which lie in `data/`.

use std::io::{BufRead, BufReader, Read};

use flate2::read::GzDecoder;

use crate::Result;
use crate::images::Images;

const FILE: &str = "examples/data/digits.csv.gz";
const SIDE: usize = 8;
/// A pixel counts the inked dots of 4 × 4.
const INK: f32 = 16.0;

/// The digits, their pixels scaled from 0..=16 to 0..=1, in the order of the file.
///
/// # Errors
///
/// If the file was changed so that it can no longer be read; the error names the line.
pub fn read() -> Result<Images> {
    parse(GzDecoder::new(&include_bytes!("../data/digits.csv.gz")[..]), FILE)
}

/// Lines of 64 pixels and a class, between commas.
fn parse(csv: impl Read, file: &str) -> Result<Images> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (index, line) in BufReader::new(csv).lines().enumerate() {
        let place = |problem: &str| format!("`{file}`, line {}: {problem}", index + 1);
        let line = line.map_err(|error| place(&error.to_string()))?;
        let values = line.split(',').map(str::parse).collect::<Result<Vec<u8>, _>>();
        let values =
            values.map_err(|error| place(&format!("not a whole number below 256: {error}")))?;
        let Some((&label, image)) =
            values.split_last().filter(|(_, image)| image.len() == SIDE * SIDE)
        else {
            return Err(
                place(&format!("{} values, not 64 pixels and a class", values.len())).into()
            );
        };
        if let Some(pixel) = image.iter().find(|&&pixel| f32::from(pixel) > INK) {
            return Err(place(&format!("a pixel of {pixel}, above 16")).into());
        }
        if label > 9 {
            return Err(place(&format!("class {label} is not a digit")).into());
        }
        pixels.extend(image.iter().map(|&pixel| f32::from(pixel) / INK));
        labels.push(label);
    }
    Images::new(SIDE, SIDE, pixels, labels).map_err(|error| format!("`{file}`: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_1797_digits_of_ten_classes() {
        let digits = read().unwrap();
        assert_eq!(
            (digits.len(), digits.height(), digits.width(), digits.classes()),
            (1797, 8, 8, 10)
        );
        let count = |digit| digits.iter().filter(|(_, label)| *label == digit).count();
        assert!((0..10).all(|digit| (174..=183).contains(&count(digit))));
        let (first, label) = digits.iter().next().unwrap();
        assert_eq!((label, &first[..5]), (0, &[0.0, 0.0, 5.0 / 16.0, 13.0 / 16.0, 9.0 / 16.0][..]));
        assert!(
            digits.iter().all(|(pixels, _)| pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)))
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = format!("{}7", "16,".repeat(64));
        assert_eq!(parse(good.as_bytes(), "a.csv").unwrap().len(), 1);
        let told = |line: &str| {
            parse(format!("{good}\n{line}").as_bytes(), "a.csv").unwrap_err().to_string()
        };
        assert_eq!(told("1,2,3"), "`a.csv`, line 2: 3 values, not 64 pixels and a class");
        assert_eq!(
            told(&format!("{}7", "17,".repeat(64))),
            "`a.csv`, line 2: a pixel of 17, above 16"
        );
        assert_eq!(
            told(&format!("{}10", "0,".repeat(64))),
            "`a.csv`, line 2: class 10 is not a digit"
        );
        assert!(told("1,x").starts_with("`a.csv`, line 2: not a whole number below 256"));
        assert!(parse(&b""[..], "a.csv").unwrap_err().to_string().starts_with("`a.csv`: "));
    }
}
