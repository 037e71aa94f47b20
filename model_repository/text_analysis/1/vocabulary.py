"""How English and Spanish say numbers, and the signs of addresses; words are folded, as in `spoken.fold`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Words = frozenset[str]


@dataclass(frozen=True)
class Vocabulary:
    """Of a language. Without any words it still knows digits and signs as they are written."""

    numbers: Mapping[str, int] = field(default_factory=dict)
    """Words that are a number as they stand, 0 to 29."""
    tens: Mapping[str, int] = field(default_factory=dict)
    """Words that a unit may follow."""
    tens_link: str | None = None
    """What stands between the two."""
    hundreds: Mapping[str, int] = field(default_factory=dict)
    """Words for hundreds that the rest may follow."""
    hundred: str | None = None
    """The word for hundred that follows a unit."""
    hundred_link: str | None = None
    repeats: Mapping[str, int] = field(default_factory=dict)
    letters: Mapping[str, str] = field(default_factory=dict)
    """Names of letters that are written as words."""
    signs: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    quantities: Words = frozenset()
    """Words that make an amount of the number before them."""
    fillers: Words = frozenset()
    number_words: Words = frozenset()
    """After one of `owners`, a number that somebody can be called at."""
    owners: Words = frozenset()
    phone_cues: Words = frozenset()
    ssn_cues: Words = frozenset()
    other_cues: Words = frozenset()
    """Numbers after these are something else."""
    address_cues: Words = frozenset()
    """What stands right before an address that is several words long."""
    short_words: Words = frozenset()
    """Words that look like letters."""
    not_names: Words = frozenset()
    """Before "at" and a domain, or "dot com", these are words of the sentence: "look at example dot com"."""


def word_set(text: str) -> Words:
    return frozenset(text.split())


def _numbered(text: str, first: int = 0, step: int = 1) -> dict[str, int]:
    return {word: first + step * index for index, word in enumerate(text.split())}


def _names(text: str) -> dict[str, str]:
    """ "be b ce c": the name of each letter, and the letter."""
    return dict(zip(text.split()[::2], text.split()[1::2], strict=True))


ENGLISH = Vocabulary(
    numbers={
        **_numbered(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        ),
        **dict.fromkeys(("oh", "o", "nought"), 0),
    },
    tens=_numbered("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10),
    hundred="hundred",
    hundred_link="and",
    repeats={"double": 2, "triple": 3},
    signs={
        ("dot",): ".",
        ("at",): "@",
        ("underscore",): "_",
        ("under", "score"): "_",
        ("dash",): "-",
        ("hyphen",): "-",
        ("minus",): "-",
        ("plus",): "+",
        ("slash",): "/",
        ("forward", "slash"): "/",
        ("colon",): ":",
    },
    quantities=word_set(
        "thousand million billion percent dollar dollars euro euros pound pounds cents bucks year years month months "
        "week weeks day days hour hours minute minutes second seconds am pm people users customers units items times "
        "degrees miles kilometers kilometres meters metres feet inches kilos grams pages points"
    ),
    fillers=word_set("uh um er erm hmm okay ok then and"),
    number_words=word_set("number numbers"),
    owners=word_set("my your his her our their whose best"),
    phone_cues=word_set(
        "phone phones telephone tel cell cellphone mobile landline call calling text texted texting dial "
        "dialed dialled fax ring reach reached contact whatsapp sms hotline callback"
    ),
    ssn_cues=word_set("social ssn ssns"),
    other_cues=word_set(
        "order orders invoice ticket reference account tracking serial case confirmation flight room model part policy "
        "version id pin code zip postcode product sku batch item booking reservation score page build"
    ),
    address_cues=word_set("is to address email mail"),
    not_names=word_set(
        "a an the this that these those my your his her its our their some any every each another no all both "
        "i you he she it we they me him us them who what which where when how why "
        "with for from of by about than as if because am is are was were be been being do does did done have has had "
        "having get gets got getting "
        "look looks looked looking meet meets met meeting see sees saw seen seeing watch arrive arrives arrived stay "
        "stays stayed work works worked working live lives lived stop start starts started end ends ended go goes went "
        "going come comes came find finds found finding sign signs signed up register registered apply applied order "
        "ordered buy bought shop shopping visit visited visiting check checked checking point pointed back out over "
        "down off on in online available hosted host hosting read download downloaded more page pages site website "
        "blog store portal here there now today tomorrow yesterday and or but then also just right only even still "
        "again us yes okay so well please thanks directly email emailed write wrote listed published posted post "
        "documentation docs details information form everything something anything nothing stuff good great"
    ),
)

SPANISH = Vocabulary(
    numbers={
        **_numbered(
            "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciseis "
            "diecisiete dieciocho diecinueve veinte veintiuno veintidos veintitres veinticuatro veinticinco "
            "veintiseis veintisiete veintiocho veintinueve"
        ),
    },
    tens=_numbered("treinta cuarenta cincuenta sesenta setenta ochenta noventa", 30, 10),
    tens_link="y",
    hundreds={
        "cien": 100,
        **_numbered(
            "ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos",
            100,
            100,
        ),
    },
    repeats={"doble": 2, "triple": 3},
    letters={
        **_names("be b ce c de d efe f ge g hache h jota j ka k ele l eme m ene n pe p cu q erre r ese s te t"),
        **_names("uve v ve v equis x ye y zeta z"),
    },
    signs={
        ("punto",): ".",
        ("dot",): ".",
        ("arroba",): "@",
        ("at",): "@",
        ("guion", "bajo"): "_",
        ("barra", "baja"): "_",
        ("guion", "medio"): "-",
        ("guion",): "-",
        ("mas",): "+",
        ("barra",): "/",
        ("dos", "puntos"): ":",
    },
    quantities=word_set(
        "mil millon millones porciento euro euros dolar dolares peso pesos centimos ano anos mes meses semana "
        "semanas dia dias hora horas minuto minutos segundo segundos persona personas usuarios clientes unidades veces "
        "grados kilometros metros kilos gramos paginas puntos"
    )
    | {"por ciento"},
    fillers=word_set("eh em este pues y luego vale"),
    number_words=word_set("numero numeros"),
    owners=word_set("mi tu su nuestro vuestro mis tus sus"),
    phone_cues=word_set(
        "telefono telefonos tel movil celular fijo llama llamar llamame llamarme llamarnos llame llamenos llamada "
        "marca marque marcar contacto contactar whatsapp fax localizarme"
    ),
    ssn_cues=word_set("social ssn"),
    other_cues=word_set(
        "pedido pedidos factura referencia cuenta caso reserva codigo serie vuelo habitacion modelo pieza poliza "
        "version id pin postal producto lote articulo expediente pagina"
    ),
    address_cues=word_set("es a correo email mail direccion"),
    short_words=word_set("a y o"),
    not_names=word_set(
        "a al el la los las un una unos unas este esta esto ese esa eso mi tu su nuestro nuestra sus mis otro otra "
        "cada todo toda todos primer primero segundo tercer ultimo mismo buen gran que quien donde cuando como "
        "yo tu el ella nosotros ustedes ellos me te se nos le les y o pero de del en con por para sin sobre hasta "
        "es son era esta estan hay ver mira mirad miren visita visite visiten entra entre entrad busca busque ir ve "
        "vaya encuentra web pagina sitio tienda aqui ahi alli hoy ayer ya si no tambien mas solo correo"
    ),
)

VOCABULARIES: Mapping[str, Vocabulary] = {"en": ENGLISH, "es": SPANISH}


def vocabulary(language: str) -> Vocabulary:
    """`language` is a code such as en or es-MX."""
    return VOCABULARIES.get(primary(language), Vocabulary())


def primary(language: str) -> str:
    """es-MX → es."""
    return language.replace("_", "-").split("-")[0].lower()
