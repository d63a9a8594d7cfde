"""GoogleSQL's functions of geographies. DuckDB holds a GEOGRAPHY as its GEOMETRY, in WKB; what is asked of one on the
sphere is S2's answer, by spherely, which is an extra of Portico's.

https://cloud.google.com/bigquery/docs/reference/standard-sql/geography_functions
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from portico.errors import Unimplemented
from portico.warehouse.geography import making, measures, parts, relations, reshaping
from portico.warehouse.geography.shapes import is_empty


def require_spherely(name: str) -> None:
    """
    Raises:
        Unimplemented: it is not installed.
    """
    if importlib.util.find_spec("spherely") is None:
        raise Unimplemented(f"{name} needs the package spherely: pip install 'portico[geography]'")


_G, _GS, _F, _B, _I, _T = "GEOMETRY", "GEOMETRY[]", "DOUBLE", "BOOLEAN", "BIGINT", "VARCHAR"
_BOX = "STRUCT(xmin DOUBLE, ymin DOUBLE, xmax DOUBLE, ymax DOUBLE)"

FUNCTIONS: dict[str, tuple[Callable[..., Any], list[str], str, dict[str, Any]]] = {
    "st_geogpoint": (making.geogpoint, [_F, _F], _G, {}),
    "st_geogfromtext": (
        making.from_text, [_T, _B, _B, _B], _G, {"oriented": False, "planar": False, "make_valid": False}),
    "st_geogfromwkb": (
        making.from_wkb, ["BLOB", _B, _B, _B], _G, {"oriented": False, "planar": False, "make_valid": False}),
    "st_geogfromgeojson": (making.from_geojson, [_T, _B], _G, {"make_valid": False}),
    "st_geogfrom": (making.geog_from, [_T], _G, {}),
    "st_geogpointfromgeohash": (making.point_from_geohash, [_T], _G, {}),
    "st_makeline": (making.makeline, [_GS], _G, {}),
    "st_makepolygon": (making.makepolygon, [_G, _GS], _G, {"holes": []}),
    "st_makepolygonoriented": (making.makepolygon_oriented, [_GS], _G, {}),
    "st_astext": (making.as_text, [_G], _T, {}),
    "st_asgeojson": (making.as_geojson, [_G, _I], _T, {"maxdecimaldigits": 15}),
    "st_asbinary": (making.as_binary, [_G], "BLOB", {}),
    "st_geohash": (making.geohash_of, [_G, _I], _T, {"maxchars": 20}),
    "st_x": (parts.x_of, [_G], _F, {}),
    "st_y": (parts.y_of, [_G], _F, {}),
    "st_dimension": (parts.dimension, [_G], _I, {}),
    "st_geometrytype": (parts.geometry_type, [_G], _T, {}),
    "st_isempty": (is_empty, [_G], _B, {}),
    "st_iscollection": (parts.is_collection, [_G], _B, {}),
    "st_isclosed": (parts.is_closed, [_G], _B, {}),
    "st_isring": (parts.is_ring, [_G], _B, {}),
    "st_numpoints": (parts.numpoints, [_G], _I, {}),
    "st_npoints": (parts.numpoints, [_G], _I, {}),
    "st_numgeometries": (parts.numgeometries, [_G], _I, {}),
    "st_pointn": (parts.pointn, [_G, _I], _G, {}),
    "st_startpoint": (parts.startpoint, [_G], _G, {}),
    "st_endpoint": (parts.endpoint, [_G], _G, {}),
    "st_dump": (parts.dump, [_G, _I], _GS, {"dimension": -1}),
    "st_dumppoints": (parts.dumppoints, [_G], _GS, {}),
    "st_exteriorring": (parts.exterior_ring, [_G], _G, {}),
    "st_interiorrings": (parts.interior_rings, [_G], _GS, {}),
    "st_boundingbox": (parts.bounding_box, [_G], _BOX, {}),
    "st_area": (measures.measure("area"), [_G, _B], _F, {"use_spheroid": False}),
    "st_length": (measures.measure("length"), [_G, _B], _F, {"use_spheroid": False}),
    "st_perimeter": (measures.measure("perimeter"), [_G, _B], _F, {"use_spheroid": False}),
    "st_distance": (measures.distance, [_G, _G, _B], _F, {"use_spheroid": False}),
    "st_maxdistance": (measures.maxdistance, [_G, _G, _B], _F, {"use_spheroid": False}),
    "st_dwithin": (measures.dwithin, [_G, _G, _F, _B], _B, {"use_spheroid": False}),
    "st_hausdorffdistance": (measures.hausdorff, [_G, _G, _B], _F, {"directed": False}),
    "st_hausdorffdwithin": (measures.hausdorff_within, [_G, _G, _F, _B], _B, {"directed": False}),
    "st_azimuth": (measures.azimuth, [_G, _G], _F, {}),
    "st_angle": (measures.angle_of, [_G, _G, _G], _F, {}),
    "st_closestpoint": (measures.closestpoint, [_G, _G, _B], _G, {"use_spheroid": False}),
    "st_linelocatepoint": (measures.linelocatepoint, [_G, _G], _F, {}),
    "st_lineinterpolatepoint": (measures.lineinterpolatepoint, [_G, _F], _G, {}),
    "st_linesubstring": (measures.linesubstring, [_G, _F, _F], _G, {}),
    "st_contains": (relations.relation("contains"), [_G, _G], _B, {}),
    "st_within": (relations.relation("within"), [_G, _G], _B, {}),
    "st_covers": (relations.relation("covers"), [_G, _G], _B, {}),
    "st_coveredby": (relations.relation("covered_by"), [_G, _G], _B, {}),
    "st_intersects": (relations.relation("intersects"), [_G, _G], _B, {}),
    "st_disjoint": (relations.relation("disjoint"), [_G, _G], _B, {}),
    "st_touches": (relations.relation("touches"), [_G, _G], _B, {}),
    "st_equals": (relations.equals, [_G, _G], _B, {}),
    "st_intersectsbox": (relations.intersects_box, [_G, _F, _F, _F, _F], _B, {}),
    "st_intersection": (relations.operation("intersection"), [_G, _G], _G, {}),
    "st_difference": (relations.operation("difference"), [_G, _G], _G, {}),
    "st_union": (relations.union_all, [_GS], _G, {}),
    "st_centroid": (reshaping.centroid, [_G], _G, {}),
    "st_boundary": (reshaping.one_to_one("boundary"), [_G], _G, {}),
    "st_convexhull": (reshaping.convexhull, [_G], _G, {}),
    "st_buffer": (
        reshaping.buffer, [_G, _F, _F, _B, _T, _T], _G,
        {"num_seg_quarter_circle": 8.0, "use_spheroid": False, "endcap": "ROUND", "side": "BOTH"}),
    "st_bufferwithtolerance": (
        reshaping.buffer_tolerance, [_G, _F, _F, _B, _T, _T], _G,
        {"use_spheroid": False, "endcap": "ROUND", "side": "BOTH"}),
    "st_simplify": (reshaping.simplify, [_G, _F], _G, {}),
    "st_snaptogrid": (reshaping.snaptogrid, [_G, _F], _G, {}),
    "s2_cellidfrompoint": (measures.cell_id, [_G, _I], _I, {"level": 30}),
    "st_union_agg": (relations.union_all, [_GS], _G, {}),
    "st_centroid_agg": (reshaping.centroid_all, [_GS], _G, {}),
    "st_extent": (parts.extent, [_GS], _BOX, {}),
}  # fmt: skip
"""By name: what does it, DuckDB's types of what goes in and comes out, and by name what need not be given."""

AGGREGATES = ("st_union_agg", "st_centroid_agg", "st_extent")
