"""From hypotheses to the moments of their joints, as they travel between stages."""

from engines.kernels.moments import MomentPlan
from engines.types import Hypotheses, JointMoments


def entropy(hypotheses: Hypotheses) -> float:
    """Of the posterior over bodies, nats: the mean of -log q over the draws. Number 0 is no draw
    unless it is alone.
    """
    return -float(hypotheses.log_q[min(1, len(hypotheses.log_q) - 1) :].mean())


def joint_moments(hypotheses: Hypotheses, plan: MomentPlan | None = None) -> JointMoments:
    """Mean and covariance of every joint, the shared distance kept apart.

    Args:
        hypotheses: at least one; hypothesis 0 gives the ray and the distance that the others are
            moved to.
        plan: of the right size, kept by a loop; made for this call when None.
    """
    num_hypotheses, num_joints = hypotheses.joints.shape[:2]
    plan = plan or MomentPlan(num_hypotheses, num_joints)
    moments = plan(hypotheses.joints, hypotheses.weights)
    return JointMoments(moments.mean, moments.cov, float(moments.distance[1]), moments.ray)
