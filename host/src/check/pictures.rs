//! Pictures of editors, to be looked at.

use crate::error::Error;
use sandrack_sandbox::format::PluginInfo;
use sandrack_sandbox::format::editor::Picture;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

/// Whether there is nothing to be seen: every pixel has the same colour.
pub(super) fn is_blank(picture: &Picture) -> bool {
    let pixels = picture.rgb.as_chunks::<3>().0;
    pixels.iter().all(|pixel| Some(pixel) == pixels.first())
}

/// Writes a picture as PNG, named by the plugin's format, id and name.
pub(super) fn save(picture: &Picture, folder: &Path, plugin: &PluginInfo) -> Result<(), Error> {
    let descriptor = &plugin.descriptor;
    let name = format!("{} {} {}", plugin.format, descriptor.name, descriptor.id);
    let fits = |c: char| if c.is_alphanumeric() || "-_. ".contains(c) { c } else { '_' };
    // Ids may be long; names of files may not.
    let name: String = name.chars().map(fits).take(120).collect();
    let path = folder.join(name.replace(' ', "-") + ".png");
    write(picture, &path).map_err(|source| Error::File { path, source })
}

fn write(picture: &Picture, path: &Path) -> io::Result<()> {
    let file = BufWriter::new(File::create(path)?);
    let mut encoder = png::Encoder::new(file, picture.size.width, picture.size.height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(io::Error::other)?;
    writer.write_image_data(&picture.rgb).map_err(io::Error::other)?;
    writer.finish().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandrack_sandbox::format::editor::Size;

    #[test]
    fn a_window_of_one_colour_is_blank_and_a_point_on_it_is_not() {
        let size = Size { width: 3, height: 2 };
        let mut picture = Picture { size, rgb: [10, 20, 30].repeat(6) };
        assert!(is_blank(&picture));
        picture.rgb[17] = 31;
        assert!(!is_blank(&picture));
    }
}
