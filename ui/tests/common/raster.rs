//! Draws egui's triangles into an image, so that pictures are the same on every machine, and none
//! needs a graphics driver.

use eframe::egui::epaint::{ImageData, Mesh, Primitive};
use eframe::egui::{Color32, Context, FullOutput, Rect, TextureId, TexturesDelta};
use egui_kittest::TestRenderer;
use image::{Rgba, RgbaImage};
use std::collections::HashMap;

/// A renderer without hardware.
#[derive(Default)]
pub struct Raster {
    textures: HashMap<TextureId, Texture>,
}

struct Texture {
    width: usize,
    height: usize,
    pixels: Vec<Color32>,
}

impl TestRenderer for Raster {
    fn handle_delta(&mut self, delta: &mut TexturesDelta) {
        let set = std::mem::take(&mut delta.set);
        for (id, change) in set.iter().flat_map(|(id, all)| all.iter().map(|one| (*id, one))) {
            let ImageData::Color(image) = &change.image;
            let [width, height] = image.size;
            match change.pos {
                None => {
                    let pixels = image.pixels.clone();
                    self.textures.insert(id, Texture { width, height, pixels });
                }
                Some([left, top]) => {
                    let texture = self.textures.get_mut(&id).expect("a part of a known texture");
                    for row in 0..height {
                        let to = (top + row) * texture.width + left;
                        let from = row * width;
                        texture.pixels[to..to + width]
                            .copy_from_slice(&image.pixels[from..from + width]);
                    }
                }
            }
        }
        for id in std::mem::take(&mut delta.free) {
            self.textures.remove(&id);
        }
    }

    fn render(&mut self, ctx: &Context, output: &FullOutput) -> Result<RgbaImage, String> {
        let scale = output.pixels_per_point;
        let size = ctx.viewport_rect().size() * scale;
        let mut image = RgbaImage::new(size.x.round() as u32, size.y.round() as u32);
        for part in ctx.tessellate(output.shapes.clone(), scale) {
            let Primitive::Mesh(mesh) = &part.primitive else {
                return Err("callbacks can't be drawn".into());
            };
            let texture = self.textures.get(&mesh.texture_id).ok_or("an unknown texture")?;
            let clip = Rect::from_min_max(
                (part.clip_rect.min.to_vec2() * scale).to_pos2(),
                (part.clip_rect.max.to_vec2() * scale).to_pos2(),
            );
            draw(&mut image, mesh, texture, clip, scale);
        }
        Ok(image)
    }
}

fn draw(image: &mut RgbaImage, mesh: &Mesh, texture: &Texture, clip: Rect, scale: f32) {
    let (width, height) = (image.width() as f32, image.height() as f32);
    for corners in mesh.indices.chunks_exact(3) {
        let v = [0, 1, 2].map(|corner| &mesh.vertices[corners[corner] as usize]);
        let p = v.map(|vertex| (vertex.pos.x * scale, vertex.pos.y * scale));
        let edge = |a: (f32, f32), b: (f32, f32), x: f32, y: f32| {
            (b.0 - a.0) * (y - a.1) - (b.1 - a.1) * (x - a.0)
        };
        let area = edge(p[0], p[1], p[2].0, p[2].1);
        if area == 0.0 {
            continue;
        }
        let low =
            |values: [f32; 3], clip: f32| values.into_iter().fold(f32::MAX, f32::min).max(clip);
        let high =
            |values: [f32; 3], clip: f32| values.into_iter().fold(f32::MIN, f32::max).min(clip);
        let (xs, ys) = (p.map(|p| p.0), p.map(|p| p.1));
        let left = low(xs, clip.min.x.round().max(0.0)).floor() as u32;
        let top = low(ys, clip.min.y.round().max(0.0)).floor() as u32;
        let right = high(xs, clip.max.x.round().min(width)).ceil().max(0.0) as u32;
        let bottom = high(ys, clip.max.y.round().min(height)).ceil().max(0.0) as u32;
        for y in top..bottom.min(image.height()) {
            for x in left..right.min(image.width()) {
                let (cx, cy) = (x as f32 + 0.5, y as f32 + 0.5);
                if cx < clip.min.x.round() || cx > clip.max.x.round() || cy > clip.max.y.round() {
                    continue;
                }
                let w = [
                    edge(p[1], p[2], cx, cy) / area,
                    edge(p[2], p[0], cx, cy) / area,
                    edge(p[0], p[1], cx, cy) / area,
                ];
                if w.iter().any(|w| *w < 0.0) {
                    continue;
                }
                let mix = |of: [f32; 3]| of[0] * w[0] + of[1] * w[1] + of[2] * w[2];
                let u = mix(v.map(|vertex| vertex.uv.x)) * texture.width as f32;
                let t = mix(v.map(|vertex| vertex.uv.y)) * texture.height as f32;
                let column = (u as usize).min(texture.width - 1);
                let texel =
                    texture.pixels[(t as usize).min(texture.height - 1) * texture.width + column];
                let part = |n: usize| mix(v.map(|vertex| f32::from(vertex.color.to_array()[n])));
                let source = [0, 1, 2, 3].map(|n| part(n) * f32::from(texel.to_array()[n]) / 255.0);
                let under = image.get_pixel_mut(x, y);
                // Colours are premultiplied, and mixed as they are stored, as egui's other renderers do.
                let keep = 1.0 - source[3] / 255.0;
                let over = |n: usize| (source[n] + f32::from(under.0[n]) * keep).round() as u8;
                *under = Rgba([over(0), over(1), over(2), over(3)]);
            }
        }
    }
}
