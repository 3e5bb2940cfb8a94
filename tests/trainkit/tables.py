"""Reference numbers, computed apart from this project in float64 and printed with nine digits.

The schedule is Stable Diffusion 1.5's (scaled_linear, 0.00085 to 0.012, 1000 steps). ``min`` and ``soft`` are
the v-prediction weights min(S, g) / (S + 1) and S g / ((S + g) (S + 1)).
"""

from __future__ import annotations

STEPS = (0, 1, 100, 250, 500, 750, 900, 998, 999)

RESCALED = {
    "alphas_cumprod_original": (
        *(0.99915, 0.998296028, 0.894223478, 0.673792625, 0.276332684),
        *(0.056169848, 0.014151142, 0.0047166989, 0.00466009851),
    ),
    "snr_original": (
        *(1175.47059, 585.864048, 8.45389371, 2.06553462, 0.381850441),
        *(0.0595126654, 0.0143542713, 0.00473905158, 0.00468191671),
    ),
    "alphas_cumprod": (
        *(0.99915, 0.998233446, 0.886761285, 0.652457015, 0.241018783),
        *(0.0327991181, 0.00296039342, 1.96788806e-07, 0.0),
    ),
    "snr": (
        *(1175.47059, 565.073881, 7.83090201, 1.87734192, 0.317555662),
        *(0.0339113815, 0.00296918337, 1.96788844e-07, 0.0),
    ),
    "alpha": (
        *(0.99957491, 0.999116333, 0.941680033, 0.807748114, 0.490936638),
        *(0.181105268, 0.0544094975, 0.000443608843, 0.0),
    ),
    "sigma": (
        *(0.0291547595, 0.0420303921, 0.336509607, 0.589527764, 0.871195281),
        *(0.983463717, 0.998518706, 0.999999902, 1.0),
    ),
}
"""Tables of the schedule at STEPS, with zero terminal SNR."""

WEIGHTS: dict[tuple[str, str, float], tuple[float, ...]] = {
    ("rescaled", "min_snr", 5): (
        *(0.00425, 0.0088327693, 0.566193577, 0.652457015, 0.241018783),
        *(0.0327991181, 0.00296039342, 1.96788806e-07, 0.0),
    ),
    ("rescaled", "min_snr", 3): (
        *(0.00255, 0.00529966158, 0.339716146, 0.652457015, 0.241018783),
        *(0.0327991181, 0.00296039342, 1.96788806e-07, 0.0),
    ),
    ("rescaled", "soft_min_snr", 5): (
        *(0.0042319987, 0.00875529891, 0.345556877, 0.474352608, 0.226625538),
        *(0.032578164, 0.00295863647, 1.96788798e-07, 0.0),
    ),
    ("rescaled", "soft_min_snr", 3): (
        *(0.00254350854, 0.00527167405, 0.245619788, 0.401319218, 0.217948521),
        *(0.0324325077, 0.00295746633, 1.96788793e-07, 0.0),
    ),
    ("original", "min_snr", 5): (
        *(0.00425, 0.00851986081, 0.528882612, 0.673792625, 0.276332684),
        *(0.056169848, 0.014151142, 0.0047166989, 0.00466009851),
    ),
    ("original", "min_snr", 3): (
        *(0.00255, 0.00511191648, 0.317329567, 0.673792625, 0.276332684),
        *(0.056169848, 0.014151142, 0.0047166989, 0.00466009851),
    ),
    ("original", "soft_min_snr", 5): (
        *(0.0042319987, 0.00844776418, 0.332328877, 0.476816449, 0.256726461),
        *(0.0555091485, 0.0141106324, 0.0047122326, 0.00465573896),
    ),
    ("original", "soft_min_snr", 3): (
        *(0.00254350854, 0.00508587355, 0.234214713, 0.399045319, 0.245131494),
        *(0.05507725, 0.0140837546, 0.00470925976, 0.00465283711),
    ),
}
"""(SNR source, weighting, gamma) -> v-prediction weights at STEPS, without a floor."""

MEAN_WEIGHTS: dict[tuple[str, str, float], float] = {
    ("rescaled", "min_snr", 5): 0.277607345,
    ("rescaled", "min_snr", 3): 0.247091478,
    ("rescaled", "soft_min_snr", 5): 0.207910754,
    ("rescaled", "soft_min_snr", 3): 0.178190429,
    ("original", "min_snr", 5): 0.294330468,
    ("original", "min_snr", 3): 0.262273381,
    ("original", "soft_min_snr", 5): 0.221169827,
    ("original", "soft_min_snr", 3): 0.189908735,
}
"""The same weights' mean over all 1000 timesteps."""

EPSILON_WEIGHTS: dict[tuple[str, str, float], tuple[float, ...]] = {
    ("original", "min_snr", 5): (0.00425361557, 0.00853440319, 0.591443443, 1, 1, 1, 1, 1, 1),
    ("original", "soft_min_snr", 5): (
        *(0.00423559896, 0.00846218351, 0.371639624, 0.707660534, 0.929048485),
        *(0.988237471, 0.997137364, 0.999053087, 0.999064493),
    ),
}
"""(SNR source, weighting, gamma) -> weights of an epsilon loss at STEPS."""

BETAS = (
    *(0.00085, 0.000917333593, 0.00149153398, 0.00264753944, 0.00553056778),
    *(0.0112254464, 0.0239621548, 0.751137004, 1.0),
)
"""beta at STEPS after the zero terminal SNR rescale."""

SIGMAS: dict[str, tuple[float, ...]] = {
    "original": (
        *(0.0291671582, 0.041314412, 0.343931226, 0.695798937, 1.61827883),
        *(4.09916405, 8.34659661, 14.5262757, 14.6146412),
    ),
    "rescaled": (
        *(0.0291671582, 0.0420675658, 0.357350262, 0.72984109, 1.77455747),
        *(5.43034295, 18.3519193, 2254.23798, float("inf")),
    ),
}
"""sigma / alpha = 1 / sqrt(SNR) at STEPS: what samplers in the notation of k-diffusion call sigma."""

INVERSE = (
    *(0.00085, 0.00176655386, 0.113238715, 0.347542985, 0.758981217),
    *(0.967200882, 0.997039607, 0.999999803, 1.0),
)
"""1 / (S + 1) at STEPS with the rescaled SNR: the "debiased" weight of a v-loss."""

OLD_DIFFUSERS = (0.00255, 0.00529966158, 0.339716146, 1, 1, 1, 1, 1, 1)
"""min(S + 1, 3) / (S + 1) at STEPS with the rescaled SNR: a form that an older diffusers script had. It is no
option of ours and pins the SNR."""

SHARES: dict[tuple[str, str, float], tuple[float, ...]] = {
    ("rescaled", "none", 3): (10, 10, 10, 10, 10, 10, 10, 10, 10, 10),
    ("rescaled", "min_snr", 3): (6.44, 22.35, 26.42, 19.35, 12.73, 7.34, 3.58, 1.38, 0.36, 0.04),
    ("original", "min_snr", 3): (5.67, 19.76, 25.69, 19.36, 13.30, 8.24, 4.54, 2.20, 0.92, 0.33),
    ("rescaled", "soft_min_snr", 3): (7.25, 18.14, 22.26, 20.41, 15.24, 9.45, 4.80, 1.89, 0.50, 0.05),
    ("original", "soft_min_snr", 3): (6.44, 16.46, 20.78, 19.75, 15.52, 10.39, 5.99, 2.97, 1.26, 0.46),
}
"""(SNR source, weighting, gamma) -> per cent of all loss weight in each hundred timesteps, two decimals.

(For comparison only: the weight 1 / ((S + 1)^2 + 1/gamma) that a well-known patch calls soft-min-SNR has, for
gamma 3, 0.09, 0.84, 2.80, 5.96, 9.65, 13.00, 15.44, 16.88, 17.56, 17.77. It has S where sigma belongs, is the
other way round, and is no option of ours.)
"""

OLD_DIFFUSERS_SHARES = (1.84, 6.39, 11.01, 11.54, 11.54, 11.54, 11.54, 11.54, 11.54, 11.54)
"""The same for OLD_DIFFUSERS, whose mean weight is 0.867."""

FLOORS: dict[float, tuple[float, float]] = {0.05: (1.94, 0.258), 0.10: (3.62, 0.276)}
"""Floor under min-SNR, gamma 3, rescaled -> (per cent of the weight at t >= 900, mean weight)."""
