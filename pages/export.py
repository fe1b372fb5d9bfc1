"""Export: the chosen configuration with its evidence, as files that test themselves."""

import streamlit as st

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services import library
from gencomp_core.services.honesty import honesty_of
from gencomp_core.services.self_tests import self_test_rows
from gencomp_core.workloads import CATALOG
from pages._honesty import honesty_panel
from pages._widgets import (
    conditions_text,
    latency_tile,
    link_to,
    pick_recipe,
    pick_workload,
    picked_recipe,
    quality_tile,
    read_measurement,
    shown_errors,
    size_tile,
    status_line,
    store_or_stop,
)

workload = pick_workload()
st.title("Export")
store = store_or_stop()

uploaded = st.sidebar.file_uploader("Open a recipe file", type=["yaml", "yml", "json"], key="export.upload")
if uploaded is not None and st.session_state.get("export.read") != uploaded.file_id:
    with shown_errors():
        pick_recipe(workload, Recipe.from_text(uploaded.getvalue().decode("utf-8", "replace"), source=uploaded.name))
    st.session_state["export.read"] = uploaded.file_id

recipe = picked_recipe(workload)
if recipe is None:
    table = library.figures(store, workload)
    comparable = table[table["conditions"] == library.conditions(table)[0]] if not table.empty else table
    signature = library.recommended(comparable, workload)
    best = read_measurement(store, signature)
    st.info("No configuration is picked yet.", icon=":material/inbox:")
    if best and st.button(f"Take the recommended one: {best.title}", type="primary"):
        pick_recipe(workload, library.recipe_of(best))
        st.rerun()
    link_to("pages/pareto.py", "Pick one on the frontier", icon=":material/show_chart:", workload=workload)
    st.stop()

measurement = None
with shown_errors():
    measurement = library.stored_for(store, workload, recipe)
st.markdown(f"**{recipe.title()}** for **{CATALOG[workload].title}** (signature `{recipe.signature}`)")
if measurement:
    columns = st.columns(3)
    size_tile(columns[0], measurement.size_bytes, measurement.dense_size_bytes)
    quality_tile(columns[1], measurement)
    latency_tile(columns[2], measurement)
    status_line(measurement.status, conditions_text(measurement))
    with shown_errors():
        honesty_panel(honesty_of(store, measurement))
else:
    st.warning("This configuration was not measured: it ships without evidence. Measure it in Explore first.")
    link_to("pages/explore.py", "Open Explore", icon=":material/tune:", workload=workload)

filename = f"{workload}-{recipe.signature}"
left, right = st.columns(2)
with left:
    st.subheader("Recipe")
    st.code(recipe.to_yaml(), language="yaml")
    st.download_button(
        "Download recipe", recipe.to_yaml(), file_name=f"{filename}.yaml", mime="application/yaml",
        on_click="ignore", icon=":material/download:", key="export.recipe",
    )  # fmt: skip
with right:
    st.subheader("Artifact")
    st.markdown(
        "Packed weights, the model for OpenVINO where it can take it, an example that needs no torch, recipe, manifest "
        "and self-test in one ZIP file, tested in a fresh process."
    )
    made = st.session_state.setdefault("export.made", {})
    if st.button("Make the artifact", type="primary", icon=":material/package_2:", key="export.make"):
        with shown_errors(), st.spinner("Compressing, packing, testing"):
            from gencomp_core.services.exporting import export_zip  # torch: only what computes pays for it

            made.clear()
            made[filename] = export_zip(workload, recipe, measurement=measurement)
    if filename in made:
        content, report = made[filename]
        runtimes = ", ".join(report["runtimes"])
        st.success(
            f"Self-test passed in a fresh process in {runtimes}: {report['size_bytes']:,} bytes of weights.",
            icon=":material/verified:",
        )
        st.dataframe(self_test_rows(report), hide_index=True)
        for runtime, reason in report["not_shipped"].items():
            st.caption(f"Not for {runtime}: {reason}")
        st.download_button(
            f"Download {len(content) / 1e6:.2f} MB", content, file_name=f"{filename}.zip", mime="application/zip",
            on_click="ignore", icon=":material/download:", key="export.zip",
        )  # fmt: skip

st.subheader("The same elsewhere")
st.code(
    f"python -m gencomp_core compress {workload} --recipe {filename}.yaml --out {filename}\n"
    f"python -m gencomp_core verify {filename}",
    language="bash",
)
st.code(
    f"""from pathlib import Path
from gencomp_core import Recipe, compress, load_workload, save_artifact

variant = compress(load_workload("{workload}"), Recipe.from_file(Path("{filename}.yaml")))
save_artifact(variant, Path("{filename}"))""",
    language="python",
)
