"""What a direction does to a face, by measure: attribute scores, their changes, and the labels that follow."""

from resefa_plugin.attributes.changes import AttributeChanges, attribute_changes
from resefa_plugin.attributes.labels import best_direction, direction_labels, suggest_labels
from resefa_plugin.attributes.scores import ATTRIBUTES, Attribute, attribute_scores

__all__ = ['ATTRIBUTES', 'Attribute', 'AttributeChanges', 'attribute_changes', 'attribute_scores', 'best_direction',
           'direction_labels', 'suggest_labels']
