"""Gymnasium's BipedalWalker on tracks that a task vector describes, with bodies of other sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from tutelage.environments.tasks import Task, TaskBox
from tutelage.environments.walker.bodies import BODIES, Body
from tutelage.environments.walker.tracks import HEXAGONS, STUMPS, Obstacle, hexagons, stumps
from tutelage.errors import OptionError, nearest, optional

optional("Box2D", "rl")
import Box2D  # noqa: E402
from gymnasium import spaces  # noqa: E402
from gymnasium.envs.box2d import bipedal_walker as original  # noqa: E402
from gymnasium.wrappers import TimeLimit  # noqa: E402

_HIP, _KNEE = (-0.8, 1.1), (-1.6, -0.1)
_LIDARS = 10
_ONLY_GROUND = {"categoryBits": 0x0020, "maskBits": 0x001, "restitution": 0.0}

Track = Callable[[Task, float, float, float, np.random.Generator], Iterator[Obstacle]]


class _Ray(Box2D.b2.rayCastCallback):  # type: ignore[misc]
    """Keeps the nearest piece of ground that a ray meets."""

    def ReportFixture(self, fixture: Any, point: Any, normal: Any, fraction: float) -> float:
        if not fixture.filterData.categoryBits & 1:
            return -1
        self.p2, self.fraction = point, fraction
        return fraction


class TaskWalker(original.BipedalWalker):  # type: ignore[misc]
    """A walker on a track of obstacles; reward, motors and senses are BipedalWalker's.

    Observations: the hull's angle and speeds (4), five numbers per leg, ten lidars: 24 numbers, 34 for the quadrupedal body. Actions: a hip
    and a knee motor per leg in [-1, 1]. The world is built anew for each episode, so that an episode is a function of its seed.

    Args:
        track: from a task to its obstacles.
        box: the tasks.
        task: the first task; the centre of the box by default.
        body: short, default or quadrupedal.
        render_mode: as Gymnasium's.

    Raises:
        OptionError: for an unknown body.

    Source: Portelas et al. 2019; bodies and units as in its code, `flowersteam/teachDeepRL`.
    """

    def __init__(
        self, track: Track, box: TaskBox, task: Task | None = None, *, body: str = "default", render_mode: str | None = None
    ) -> None:
        super().__init__(render_mode=render_mode)
        if body not in BODIES:
            raise OptionError(f"No walker's body is called '{body}'.{nearest(body, BODIES)}")
        self.track, self.box, self.body = track, box, BODIES[body]
        self.task = box.check(box.centre if task is None else task)
        self.action_space = spaces.Box(-1.0, 1.0, (self.body.joints,), np.float32)
        leg_low, leg_high = [-math.pi, -5, -math.pi, -5, 0], [math.pi, 5, math.pi, 5, 5]
        legs = 2 * len(self.body.hips)
        low = [-math.pi, -5, -5, -5] + legs * leg_low + _LIDARS * [-1]
        high = [math.pi, 5, 5, 5] + legs * leg_high + _LIDARS * [1]
        self.observation_space = spaces.Box(np.array(low, np.float32), np.array(high, np.float32))

    def set_task(self, task: Task) -> None:
        """Take another task, from the next `reset` on."""
        self.task = self.box.check(task)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw a track around the task and put the walker at its start."""
        super(original.BipedalWalker, self).reset(seed=seed)
        self._destroy()
        self.world = Box2D.b2World()
        self.world.contactListener_bug_workaround = _FourFeet(self)
        self.world.contactListener = self.world.contactListener_bug_workaround
        self.game_over, self.prev_shaping, self.scroll, self.lidar_render = False, None, 0.0, 0
        self._generate_terrain(False)
        self._generate_clouds()
        self._assemble(self.body)
        self.drawlist = self.terrain + self.legs + [self.hull]
        self.lidar = [_Ray() for _ in range(_LIDARS)]
        return self.step(np.zeros(self.body.joints))[0], {}

    def _generate_terrain(self, hardcore: bool) -> None:
        """Lay flat ground with the track's obstacles on it."""
        start, stop = (original.TERRAIN_STEP * steps for steps in (original.TERRAIN_STARTPAD, original.TERRAIN_LENGTH))
        ground, edges = original.TERRAIN_HEIGHT, [0.0, start]
        self.terrain: list[Any] = []
        for obstacle in self.track(self.task, start, stop, ground, self.np_random):
            self.fd_polygon.shape.vertices = obstacle.corners
            self._static(self.fd_polygon, (255, 255, 255), (153, 153, 153))
            edges += [obstacle.end, obstacle.next]
        self.terrain_poly = []
        for i, (left, right) in enumerate(pairwise(edges)):
            self.fd_edge.shape.vertices = [(left, ground), (right, ground)]
            self._static(self.fd_edge, *2 * [(76, 204 if i % 2 else 255, 76)])
            self.terrain_poly.append(([(left, ground), (right, ground), (right, 0), (left, 0)], (102, 153, 76)))
        self.terrain.reverse()

    def _static(self, fixture: Any, fill: tuple[int, int, int], line: tuple[int, int, int]) -> None:
        body = self.world.CreateStaticBody(fixtures=fixture)
        body.color1, body.color2 = fill, line
        self.terrain.append(body)

    def _assemble(self, body: Body) -> None:
        """Put hull, legs and motors together above the start."""
        scale, down = original.SCALE, original.LEG_DOWN
        x, height = original.TERRAIN_STEP * original.TERRAIN_STARTPAD / 2, body.leg_height / scale
        y = original.TERRAIN_HEIGHT + 2 * height
        corners = [(px / scale, py / scale) for px, py in body.hull]
        fixture = Box2D.b2.fixtureDef(shape=Box2D.b2.polygonShape(vertices=corners), density=5.0, friction=0.1, **_ONLY_GROUND)
        self.hull = self.world.CreateDynamicBody(position=(x, y), fixtures=fixture)
        self.hull.color1, self.hull.color2 = (127, 51, 229), (76, 76, 127)
        self.hull.ApplyForceToCenter((self.np_random.uniform(-original.INITIAL_RANDOM, original.INITIAL_RANDOM), 0), True)
        self.legs: list[Any] = []
        self.joints: list[Any] = []
        for hip in body.hips:
            for side in (-1, 1):
                thigh = self._limb(body, 1.0, (x + hip, y - height / 2 - down), side)
                self._motor(self.hull, thigh, (hip, down), side, _HIP)
                shin = self._limb(body, 0.8, (x + hip, y - height * 3 / 2 - down), side)
                shin.ground_contact = False
                self._motor(thigh, shin, (0, -height / 2), 1, _KNEE)

    def _limb(self, body: Body, width: float, position: tuple[float, float], side: int) -> Any:
        half = (width * (body.leg_width / original.SCALE) / 2, body.leg_height / original.SCALE / 2)
        fixture = Box2D.b2.fixtureDef(shape=Box2D.b2.polygonShape(box=half), density=1.0, **_ONLY_GROUND)
        limb = self.world.CreateDynamicBody(position=position, angle=side * 0.05, fixtures=fixture)
        limb.color1, limb.color2 = ((r - side * 25, g - side * 25, b - side * 25) for r, g, b in ((153, 76, 127), (102, 51, 76)))
        self.legs.append(limb)
        return limb

    def _motor(self, upper: Any, lower: Any, anchor: tuple[float, float], speed: int, limits: tuple[float, float]) -> None:
        joint = Box2D.b2.revoluteJointDef(
            bodyA=upper,
            bodyB=lower,
            localAnchorA=anchor,
            localAnchorB=(0, self.body.leg_height / original.SCALE / 2),
            enableMotor=True,
            enableLimit=True,
            maxMotorTorque=self.body.torque,
            motorSpeed=speed,
            lowerAngle=limits[0],
            upperAngle=limits[1],
        )
        self.joints.append(self.world.CreateJoint(joint))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive the motors for a fiftieth of a second."""
        drive = np.asarray(action, dtype=np.float64)
        effort = np.clip(np.abs(drive), 0, 1)
        for i, joint in enumerate(self.joints):
            joint.motorSpeed = float((original.SPEED_KNEE if i % 2 else original.SPEED_HIP) * np.sign(drive[i]))
            joint.maxMotorTorque = float(self.body.torque * effort[i])
        self.world.Step(1.0 / original.FPS, 6 * 30, 2 * 30)
        position, velocity = self.hull.position, self.hull.linearVelocity
        self.scroll = position.x - original.VIEWPORT_W / original.SCALE / 5
        state = [
            self.hull.angle,
            2.0 * self.hull.angularVelocity / original.FPS,
            0.3 * velocity.x * (original.VIEWPORT_W / original.SCALE) / original.FPS,
            0.3 * velocity.y * (original.VIEWPORT_H / original.SCALE) / original.FPS,
            *self._legs_felt(),
            *self._ground_seen(position),
        ]
        shaping = 130 * position[0] / original.SCALE - 5.0 * abs(state[0])
        reward = 0.0 if self.prev_shaping is None else shaping - self.prev_shaping
        self.prev_shaping = shaping
        for one in effort:
            reward -= self.body.torque_penalty * self.body.torque * one
        fell = self.game_over or position[0] < 0
        arrived = position[0] > (original.TERRAIN_LENGTH - original.TERRAIN_GRASS) * original.TERRAIN_STEP
        return np.array(state, dtype=np.float32), -100.0 if fell else float(reward), bool(fell or arrived), False, {}

    def _legs_felt(self) -> Iterator[float]:
        for i in range(0, len(self.joints), 2):
            hip, knee = self.joints[i], self.joints[i + 1]
            yield from (hip.angle, hip.speed / original.SPEED_HIP, knee.angle + 1.0, knee.speed / original.SPEED_KNEE)
            yield 1.0 if self.legs[i + 1].ground_contact else 0.0

    def _ground_seen(self, position: Any) -> Iterator[float]:
        for i, ray in enumerate(self.lidar):
            angle = 1.5 * i / _LIDARS
            ray.fraction, ray.p1 = 1.0, position
            ray.p2 = (position[0] + math.sin(angle) * original.LIDAR_RANGE, position[1] - math.cos(angle) * original.LIDAR_RANGE)
            self.world.RayCast(ray, ray.p1, ray.p2)
            yield ray.fraction


class _FourFeet(original.ContactDetector):  # type: ignore[misc]
    """Tells every shin whether it stands on something."""

    def BeginContact(self, contact: Any) -> None:
        touching = (contact.fixtureA.body, contact.fixtureB.body)
        self.env.game_over |= self.env.hull in touching
        for shin in self.env.legs[1::2]:
            if shin in touching:
                shin.ground_contact = True

    def EndContact(self, contact: Any) -> None:
        touching = (contact.fixtureA.body, contact.fixtureB.body)
        for shin in self.env.legs[1::2]:
            if shin in touching:
                shin.ground_contact = False


def stump_tracks(
    task: Task | None = None, *, body: str = "default", limit: int = 2000, render_mode: str | None = None, box: TaskBox = STUMPS
) -> Any:
    """Return a walker on stump tracks.

    Args:
        task: height and spacing, as `tutelage.environments.walker.STUMPS` says; the centre of the box by default.
        body: short, default or quadrupedal.
        limit: steps of an episode.
        render_mode: as Gymnasium's.
        box: the tasks; one with a larger height has more of what cannot be learned.
    """
    return TimeLimit(TaskWalker(stumps, box, task, body=body, render_mode=render_mode), limit)


def hexagon_tracks(
    task: Task | None = None, *, body: str = "default", limit: int = 2000, render_mode: str | None = None, box: TaskBox = HEXAGONS
) -> Any:
    """Return a walker on hexagon tracks; options as for `stump_tracks`, tasks as `HEXAGONS` says."""
    return TimeLimit(TaskWalker(hexagons, box, task, body=body, render_mode=render_mode), limit)
