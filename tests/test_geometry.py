"""The sign convention against SciPy, Hopenet's drawing formulas and a mirror; the range of the pose bins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jfsr import geometry

RNG = np.random.default_rng(0)
REVERSE_Z = np.diag([1.0, 1.0, -1.0])
POSES = np.concatenate([RNG.uniform([-89, -179, -179], [89, 179, 179], (200, 3)), np.zeros((1, 3))]).astype(np.float32)


def rotation(pose_deg):
    return np.asarray(geometry.rotation_from_pose(jnp.asarray(pose_deg)))


def scipy_rotation(pose_deg):
    yaw, pitch, roll = np.moveaxis(np.asarray(pose_deg, np.float64), -1, 0)
    return Rotation.from_euler("XYZ", np.stack([pitch, -yaw, roll], -1), degrees=True)  # capitals: intrinsic axes


def test_rotation_is_scipys_and_its_columns_are_the_axes_that_hopenet_draws():
    R = rotation(POSES)
    np.testing.assert_allclose(R, scipy_rotation(POSES).as_matrix(), atol=2e-6)
    # draw_axis of deep-head-pose's utils.py, which negates yaw first; (x, y) of the three axes.
    y, p, r = np.deg2rad(POSES.T.astype(np.float64)) * np.array([[-1], [1], [1]])
    drawn = [
        [np.cos(y) * np.cos(r), np.cos(p) * np.sin(r) + np.cos(r) * np.sin(p) * np.sin(y)],
        [-np.cos(y) * np.sin(r), np.cos(p) * np.cos(r) - np.sin(p) * np.sin(y) * np.sin(r)],
        [np.sin(y), -np.cos(y) * np.sin(p)],
    ]
    np.testing.assert_allclose(R[:, :2].transpose(2, 1, 0), drawn, atol=2e-6)


@pytest.mark.parametrize(
    ("angles", "nose"),  # where the nose (0, 0, 1) points: x to the viewer's right, y down
    [((30, 0, 0), (-0.5, 0)), ((0, 30, 0), (0, -0.5)), ((-30, 0, 0), (0.5, 0)), ((0, 0, 30), (0, 0))],
)
def test_positive_yaw_looks_to_the_viewers_left_and_positive_pitch_up(angles, nose):
    R = rotation(np.array(angles, np.float32))
    np.testing.assert_allclose((R @ [0, 0, 1])[:2], nose, atol=1e-6)


def test_positive_roll_is_clockwise_for_the_viewer():
    right_eye = rotation(np.array([0, 0, 30], np.float32)) @ [1, 0, 0]
    assert right_eye[1] > 0.49  # the eye on the viewer's right goes down, and y points down


def test_geodesic_is_the_angle_of_the_relative_rotation():
    a, b = POSES[:100], POSES[100:200]
    wanted = np.rad2deg((scipy_rotation(a).inv() * scipy_rotation(b)).magnitude())
    np.testing.assert_allclose(geometry.geodesic_deg(jnp.asarray(a), jnp.asarray(b)), wanted, atol=2e-3)
    # With acos of the trace, the error at these angles would be some hundredths of a degree.
    for angle in (1e-3, 0.05, 179.95):
        got = geometry.geodesic_deg(jnp.array([0.0, 0.0, angle]), jnp.zeros(3))
        np.testing.assert_allclose(got, angle, atol=2e-4)


@pytest.mark.parametrize("array", [np.array, jnp.array])
def test_differences_wrap_into_a_half_open_turn(array):
    angles = array([0, 179.5, 180, -180, 358, -358, 540, 723, np.nan])
    wrapped = geometry.wrap_deg(angles)
    assert type(wrapped) is type(angles)
    np.testing.assert_allclose(wrapped, [0, 179.5, -180, -180, -2, 2, -180, 3, np.nan])


def test_a_mirrored_pose_is_the_mirrored_rotation():
    mirror = np.diag([-1.0, 1.0, 1.0])
    R = rotation(POSES)
    np.testing.assert_allclose(rotation(geometry.mirror_pose(POSES)), mirror @ R @ mirror, atol=2e-6)
    assert np.isnan(geometry.mirror_pose(np.array([np.nan, 1, np.nan], np.float32))).tolist() == [True, False, True]


def test_a_mirror_swaps_the_landmarks_of_ibug():
    pairs = {0: 16, 7: 9, 8: 8, 17: 26, 21: 22, 27: 27, 30: 30, 31: 35, 33: 33, 36: 45, 37: 44, 39: 42, 40: 47, 41: 46}
    pairs |= {48: 54, 50: 52, 51: 51, 57: 57, 58: 56, 59: 55, 60: 64, 61: 63, 62: 62, 65: 67, 66: 66}
    for one, other in pairs.items():
        assert (geometry.FLIP_68[one], geometry.FLIP_68[other]) == (other, one)
    for flip, count in ((geometry.FLIP_68, 68), (geometry.FLIP_5, 5)):
        np.testing.assert_array_equal(flip[flip], np.arange(count))
    with pytest.raises(ValueError, match="20 landmarks is unknown; give 68"):
        geometry.mirror_landmarks(np.zeros((20, 2), np.float32), 40)


@pytest.mark.parametrize("count", [68, 5])
def test_mirrored_landmarks_lie_on_the_mirrored_image(count):
    width = 40
    points = RNG.integers(0, width, (count, 2)).astype(np.float32)
    image = np.zeros((width, width), bool)
    image[points[:, 1].astype(int), points[:, 0].astype(int)] = True
    mirrored = geometry.mirror_landmarks(points, width)
    assert image[:, ::-1][mirrored[:, 1].astype(int), mirrored[:, 0].astype(int)].all()
    np.testing.assert_array_equal(geometry.mirror_landmarks(mirrored, width), points)


def test_a_pose_is_in_range_where_all_three_angles_have_a_bin():
    beyond = np.nextafter(np.float32(99), np.float32(100))
    poses = np.array([[99, -99, 0], [beyond, 0, 0], [0, -beyond, 0], [0, -300, 0], [np.nan, 0, 0], [np.nan] * 3])
    expected = [True, False, False, False, False, False]
    for array in (poses.astype(np.float32), poses):
        assert geometry.pose_in_range(array).tolist() == expected
    assert jax.jit(geometry.pose_in_range)(jnp.asarray(poses, jnp.float32)).tolist() == expected


def test_training_and_evaluation_keep_the_same_faces():
    """Training asks about a JAX array on the device, evaluation about a NumPy one."""
    edge = np.float32(geometry.POSE_LIMIT_DEG)
    poses = RNG.uniform(-110, 110, (2000, 3)).astype(np.float32)
    poses[RNG.random(poses.shape) < 0.05] = np.nan
    for value in (edge, -edge, np.nextafter(edge, np.float32(200)), np.nextafter(edge, np.float32(0))):
        poses[RNG.random(poses.shape) < 0.05] = value
    kept = geometry.pose_in_range(poses)
    assert 100 < kept.sum() < 1900
    np.testing.assert_array_equal(jax.jit(geometry.pose_in_range)(jnp.asarray(poses)), kept)
    by_bins = [[-99 <= angle <= -99 + 66 * 3 for angle in pose] for pose in poses.tolist()]
    np.testing.assert_array_equal(kept, np.all(by_bins, axis=1))


def test_the_real_mean_face_is_its_own_mirror(shared):
    table = np.genfromtxt(shared / "faces/train/landmarks68/labels.csv", delimiter=",", skip_header=1)[:, 1:]
    faces = table.reshape(-1, 68, 2).astype(np.float32)
    mean = faces.mean(0)
    mirrored = geometry.mirror_landmarks(mean, 192)
    mirrored += (mean - mirrored).mean(0)  # the mean face need not be in the middle
    nearest = np.linalg.norm(mirrored[:, None] - mean, axis=-1).argmin(1)
    np.testing.assert_array_equal(nearest, np.arange(68))


# ---- The data sets' own angles


def test_biwis_angles_are_hopenets():
    R = Rotation.random(300, random_state=1).as_matrix()
    T = np.swapaxes(R, -1, -2)  # deep-head-pose's datasets.py, word for word
    roll = -np.arctan2(T[:, 1, 0], T[:, 0, 0])
    yaw = -np.arctan2(-T[:, 2, 0], np.sqrt(T[:, 2, 1] ** 2 + T[:, 2, 2] ** 2))
    pitch = np.arctan2(T[:, 2, 1], T[:, 2, 2])
    np.testing.assert_allclose(geometry.pose_from_biwi(R), np.rad2deg([yaw, pitch, roll]).T, atol=1e-9)


def test_biwis_angles_are_the_rotation_of_the_convention_with_z_reversed():
    R = Rotation.random(300, random_state=2).as_matrix()
    # SciPy: BIWI's z points away from the viewer, so rotations about x and y have the opposite sense.
    pitch, yaw, roll = Rotation.from_matrix(R).as_euler("XYZ", degrees=True).T * [[-1], [1], [1]]
    pose = geometry.pose_from_biwi(R)
    np.testing.assert_allclose(pose, np.stack([yaw, pitch, roll], -1), atol=1e-6)
    np.testing.assert_allclose(rotation(pose.astype(np.float32)), REVERSE_Z @ R @ REVERSE_Z, atol=3e-6)


def test_a_pose_comes_back_from_its_rotation():
    from_rotation = lambda R: geometry.pose_from_biwi(REVERSE_Z @ R @ REVERSE_Z)
    np.testing.assert_allclose(from_rotation(rotation(POSES)), POSES, atol=2e-3)
    # Beyond ±90° of yaw, other angles give the same rotation, so only the rotation comes back.
    far = np.array([[-103, -300, 298], [170, 20, -20]], np.float32)
    again = from_rotation(rotation(far))
    assert np.all(np.abs(again[:, 0]) <= 90)
    np.testing.assert_allclose(rotation(again.astype(np.float32)), rotation(far), atol=3e-6)


@pytest.mark.parametrize(
    ("axis", "degrees", "nose", "pose"),  # BIWI's head at zero pose looks along -z; x to the viewer's right, y down
    [("y", 30, (-0.5, 0), (30, 0, 0)), ("x", -30, (0, -0.5), (0, 30, 0)), ("z", 30, (0, 0), (0, 0, 30))],
)
def test_biwis_signs_are_those_of_the_convention(axis, degrees, nose, pose):
    R = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    np.testing.assert_allclose((R @ [0, 0, -1])[:2], nose, atol=1e-12)
    np.testing.assert_allclose(geometry.pose_from_biwi(R), pose, atol=1e-9)


def test_a_mirrored_biwi_pose_is_the_mirrored_rotation():
    R = Rotation.random(50, random_state=3).as_matrix()
    mirror = np.diag([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(
        geometry.pose_from_biwi(mirror @ R @ mirror), geometry.mirror_pose(geometry.pose_from_biwi(R)), atol=1e-9
    )


def test_pose_para_is_pitch_yaw_roll_in_radians():
    para = np.array([[0.1, -0.5, 2.0, 50.0, 60.0, 0.0, 1e-3]])
    np.testing.assert_allclose(geometry.pose_from_para(para), [[-28.64788976, 5.72957795, 114.59155903]])


def test_pointing04_has_no_roll():
    np.testing.assert_array_equal(geometry.pose_from_pointing04(-30, 45), [45, -30, np.nan])
