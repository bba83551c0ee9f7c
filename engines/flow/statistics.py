"""Statistics of hypotheses: the moments of their joints, and their entropy."""

from engines.kernels.moments import MomentPlan
from engines.types import Hypotheses, JointMoments


def entropy(hypotheses: Hypotheses) -> float:
    """Estimate the posterior's entropy, nats: the mean of -log q over the samples.

    Hypothesis 0 is the flow's centre and not a sample, so it counts only when it is alone.
    """
    return -float(hypotheses.log_q[min(1, len(hypotheses.log_q) - 1) :].mean())


def joint_moments(hypotheses: Hypotheses, plan: MomentPlan | None = None) -> JointMoments:
    """Take mean and covariance of every joint, the shared distance kept apart.

    Args:
        hypotheses: at least one; number 0 gives the ray, and the distance that all are moved to.
        plan: for as many hypotheses and joints; allocated for this call when None.
    """
    num_hypotheses, num_joints = hypotheses.joints.shape[:2]
    plan = plan or MomentPlan(num_hypotheses, num_joints)
    moments = plan(hypotheses.joints, hypotheses.weights)
    return JointMoments(moments.mean, moments.cov, float(moments.distance[1]), moments.ray)
