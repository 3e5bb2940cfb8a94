"""The .yaml beside a single file, from which front ends of the original code's family learn that it predicts
v.

A1111 and Forge read ``<name>.yaml`` beside ``<name>.safetensors``; A1111 builds the networks from it, so it
is the whole inference configuration of Stable Diffusion 1 (v1-inference.yaml of the original code) and not
only the one line that matters. ComfyUI's "Load Checkpoint With Config" reads ``parameterization`` and
``layer_idx`` of it. The file has no place for zero terminal SNR: that stays a setting of the front end.
"""

from __future__ import annotations

from typing import Any

from trainkit.export.source import Source

_CONFIG = """\
model:
  base_learning_rate: 1.0e-04
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    parameterization: "{parameterization}"
    linear_start: {schedule.beta_start}
    linear_end: {schedule.beta_end}
    num_timesteps_cond: 1
    log_every_t: 200
    timesteps: {schedule.num_timesteps}
    first_stage_key: "jpg"
    cond_stage_key: "txt"
    image_size: 64
    channels: {latent_channels}
    cond_stage_trainable: false
    conditioning_key: crossattn
    monitor: val/loss_simple_ema
    scale_factor: {scale_factor}
    use_ema: False

    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        image_size: 32 # unused
        in_channels: {unet[in_channels]}
        out_channels: {unet[out_channels]}
        model_channels: {model_channels}
        attention_resolutions: {attention}
        num_res_blocks: {unet[layers_per_block]}
        channel_mult: {multiples}
        num_heads: {heads}
        use_spatial_transformer: True
        transformer_depth: 1
        context_dim: {unet[cross_attention_dim]}
        use_checkpoint: False
        legacy: False

    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: {latent_channels}
        monitor: val/rec_loss
        ddconfig:
          double_z: true
          z_channels: {latent_channels}
          resolution: 256
          in_channels: 3
          out_ch: 3
          ch: {vae_channels}
          ch_mult: {vae_multiples}
          num_res_blocks: {vae[layers_per_block]}
          attn_resolutions: []
          dropout: 0.0
        lossconfig:
          target: torch.nn.Identity

    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
"""

_CLIP_SKIP = """\
      params:
        layer: "hidden"
        layer_idx: -{clip_skip}
"""


def front_end_config(source: Source) -> str:
    """The text of the .yaml file for a model."""
    unet, vae = source.configs["unet"], source.configs["vae"]
    widths, vae_widths = unet["block_out_channels"], vae["block_out_channels"]
    attended = [kind.startswith("CrossAttn") for kind in unet["down_block_types"]]
    text = _CONFIG.format(
        parameterization="v" if source.objective.prediction == "v_prediction" else "eps",
        schedule=source.schedule,
        latent_channels=vae.get("latent_channels", 4),
        scale_factor=vae.get("scaling_factor", 0.18215),
        unet=unet,
        model_channels=widths[0],
        attention=[2**level for level, there in reversed(list(enumerate(attended))) if there],
        multiples=_multiples(widths),
        heads=unet.get("num_attention_heads") or unet["attention_head_dim"],
        vae=vae,
        vae_channels=vae_widths[0],
        vae_multiples=_multiples(vae_widths),
    )
    if source.text.clip_skip > 1:
        text += _CLIP_SKIP.format(clip_skip=source.text.clip_skip)
    return text


def _multiples(widths: list[int]) -> list[Any]:
    """Each width as a multiple of the first: whole for every published model."""
    return [width // widths[0] if width % widths[0] == 0 else width / widths[0] for width in widths]
