"""GenComp's dashboard: page configuration and navigation."""

from pathlib import Path

import streamlit as st

ASSETS = Path(__file__).parent / "assets"

st.set_page_config(page_title="GenComp", page_icon=str(ASSETS / "icon.svg"), layout="wide", initial_sidebar_state=244)
st.logo(str(ASSETS / "logo.svg"), icon_image=str(ASSETS / "icon.svg"), size="large")
navigation = st.navigation(
    {
        "See": [
            st.Page("pages/overview.py", title="Overview", icon=":material/home:", default=True),
            st.Page("pages/sensitivity.py", title="Sensitivity", icon=":material/radar:"),
            st.Page("pages/explore.py", title="Explore", icon=":material/tune:"),
            st.Page("pages/gallery.py", title="Gallery", icon=":material/compare:"),
            st.Page("pages/pareto.py", title="Pareto", icon=":material/show_chart:"),
            st.Page("pages/compare.py", title="Compare", icon=":material/difference:"),
        ],
        "Act": [
            st.Page("pages/studies.py", title="Studies", icon=":material/science:"),
            st.Page("pages/recover.py", title="Recover", icon=":material/healing:"),
            st.Page("pages/train.py", title="Train", icon=":material/model_training:"),
            st.Page("pages/export.py", title="Export", icon=":material/download:"),
        ],
        "Learn": [
            st.Page("pages/lessons.py", title="Lessons", icon=":material/school:"),
            st.Page("pages/methods.py", title="Methods", icon=":material/menu_book:"),
        ],
    }
)
st.html(ASSETS / "style.css")
navigation.run()
